"""Say how well a recorded conversation is understood: words by PocketSphinx, beginnings and ends by Silero's VAD.

    python graphs/conversations/check_demo.py [CONVERSATION.yaml] [--seeds 3]

PocketSphinx streams with `fwdflat` and `bestpath` off, the way a live recogniser has to. It is asked for its words
96 ms and 400 ms after the end of each utterance; then once more, having been asked in each pause within too (where it
starts anew, and the pieces are joined). Needs pocketsphinx, silero-vad and onnxruntime.

An utterance is decoded with a second of noise before it, no more: PocketSphinx's running cepstral mean drifts towards
what it is given, and after five seconds of noise a quarter of the words are wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from nodes.sound.conversation import RATE_HZ, Conversation, RecordedUtterance, load_conversation  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

FINALISE_MS = (96, 400)
LEAD_MS = 1000
BLOCK = RATE_HZ * 20 // 1000
MS = RATE_HZ // 1000


def main() -> None:
    """Print the figures of every utterance and of all of them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("conversation", nargs="?", default=HERE / "demo.yaml", type=Path)
    options.add_argument("--seeds", default=3, type=int, help="how many different noises to try")
    chosen = options.parse_args()
    conversation = load_conversation(chosen.conversation)
    for seed in range(1, chosen.seeds + 1):
        print(f"noise {seed}")
        noisy = conversation.model_copy(update={"noise_seed": seed})
        for after_ms in FINALISE_MS:
            for split in (False, True):
                _recognise(noisy, after_ms, split=split)
        _detect(noisy)


def _heard(conversation: Conversation, utterance: RecordedUtterance) -> Samples:
    """An utterance in its noise: a second before it, as much behind it."""
    import numpy as np

    samples = np.pad(utterance.samples(), LEAD_MS * MS)
    return samples + np.resize(conversation.noise_floor(), len(samples))


def _recognise(conversation: Conversation, after_ms: int, *, split: bool) -> None:
    from pocketsphinx import Decoder

    decoder = Decoder(fwdflat=False, bestpath=False, loglevel="FATAL")
    wrong = total = 0
    for utterance in conversation.utterances:
        samples = _heard(conversation, utterance)
        offset = LEAD_MS * MS
        asked = [first + 96 * MS for first, last in utterance.hesitations if split and last - first > 96 * MS]
        cuts = [0, *(offset + sample for sample in asked), offset + utterance.speech_end + after_ms * MS]
        heard = " ".join(_words(decoder, samples[begin:end]) for begin, end in itertools.pairwise(cuts)).split()
        said = re.findall(r"[a-z']+", utterance.text.lower())
        errors = _distance(said, heard)
        wrong, total = wrong + errors, total + len(said)
        if errors:
            print(f"    {' '.join(said)!r} was heard as {' '.join(heard)!r}")
    asked_too = ", also in pauses" if split else ""
    print(
        f"  finalised {after_ms} ms after the end{asked_too}: {wrong} of {total} words wrong, WER {wrong / total:.1%}"
    )


def _words(decoder: Any, samples: Samples) -> str:
    decoder.start_utt()
    for begin in range(0, len(samples), BLOCK):
        decoder.process_raw((samples[begin : begin + BLOCK] * 32767).astype("<i2").tobytes())
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found else ""


def _distance(said: list[str], heard: list[str]) -> int:
    """Words inserted, deleted or replaced (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        above, row = row, [number]
        for column, other in enumerate(heard, 1):
            row.append(min(above[column] + 1, row[-1] + 1, above[column - 1] + (word != other)))
    return row[-1]


def _detect(conversation: Conversation) -> None:
    """Times by Silero's windows of 32 ms, voiced from a probability of 0.5, against the annotation."""
    import numpy as np
    import onnxruntime

    place = importlib.util.find_spec("silero_vad")
    assert place, "pip install silero-vad"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = onnxruntime.InferenceSession(str(Path(str(place.origin)).parent / "data" / "silero_vad.onnx"), options)
    for utterance in conversation.utterances:
        samples = _heard(conversation, utterance)
        state, context = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
        probabilities = []
        for begin in range(0, len(samples) - 511, 512):
            window = np.concatenate([context, samples[begin : begin + 512]])
            context = window[-64:]
            inputs = {"input": window[None], "state": state, "sr": np.array(RATE_HZ, np.int64)}
            probability, state = model.run(None, inputs)
            probabilities.append(float(probability[0, 0]))
        voiced = np.flatnonzero(np.array(probabilities) >= 0.5)
        start, end = (LEAD_MS * MS + sample for sample in (utterance.speech_start, utterance.speech_end))
        onset_ms = ((voiced[0] + 1) * 512 - start) / MS
        end_ms = ((voiced[-1] + 1) * 512 - end) / MS
        gaps = [
            f"{(b - a - 1) * 32} ms silent at {a * 32 - LEAD_MS + 32} ms"
            for a, b in itertools.pairwise(voiced)
            if b - a > 1
        ]
        known = [f"{(last + 1 - first) / MS:.0f} ms at {first // MS} ms" for first, last in utterance.hesitations]
        print(
            f"  {utterance.audio.stem}: onset known {onset_ms:+.0f} ms, last voiced window ends {end_ms:+.0f} ms; "
            f"pauses {known or 'none'}, heard {gaps or 'none'}; peak {max(probabilities):.2f}"
        )


if __name__ == "__main__":
    main()
