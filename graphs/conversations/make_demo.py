"""Make the bundled conversation (`demo.yaml` and `demo/*.wav`) from the sentences below, with Debian's flite.

    python graphs/conversations/make_demo.py

Run it by hand after changing a sentence, then `check_demo.py`: PocketSphinx doesn't understand every phrasing. The
speech is annotated before any noise is added, so its ends are exact by the rule in `nodes/sound/conversation.py`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from nodes.sound.conversation import RATE_HZ, annotate  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]


class Line(NamedTuple):
    """What is said, "…" where the speaker hesitates, and when: YAML, put into the utterance as it is."""

    name: str
    text: str
    when: str
    comment: str = ""


VOICE = "awb"
HESITATION_MS = 280
"""Long enough to look like an end, shorter than the 400 ms of silence that end a turn by default."""
MARGIN_MS = 100
"""On both sides of the speech: what flite made of it, then silence."""
LINES = (
    Line("name", "Good morning. My name is David.", "pause: 500ms", "a name to remember"),
    Line("time", "Do you know what time it is?", "pause: 700ms"),
    Line("product", "Could you please tell me … what is nine times seven?", "pause: 700ms", "hesitates inside"),
    Line("recall", "Do you remember my name?", "pause: 700ms"),
    Line("date", "Please tell me the date of today.", "pause: 900ms"),
    Line("story", "Tell me your longest story.", "pause: 700ms", "a long answer, interrupted by the next"),
    Line("stop", "Stop it. Tell me what day it is.", "barge_in: 2500ms", "barges in"),
    Line("bye", "That was very kind of you. Thank you and goodbye.", "pause: 700ms"),
)

HEAD = f"""\
# A recorded user: talk with it by `device: caller:demo.yaml` (made by make_demo.py; edit that, not this).
#
# noise_floor_dbfs: white noise under everything, added while playing (the WAV files are clean)
# patience:         how long the user waits for an answer to begin
# utterances, in the order in which they are spoken:
#   audio     16 kHz mono 16-bit WAV, beside this file
#   kind      what it is an example of (hesitation, list, one_word, ...); results are broken down by it
#   text      what is really said
#   asked     what the assistant has asked before, if this answers a question
#   silences  [[first, last], ...] stretches of silence that the file leaves out: put in while playing
#   range     [first, last] sample of the part that is played (all of it without)
#   speech    [first, last] voiced sample: the 5 ms around it are above -45 dBFS (estimated by that rule without)
#   pauses    [[first, last], ...] each 100 ms or longer within the speech in which nothing is voiced
#   expects   answer (default) | nothing: noise, "mhm", words to somebody else
#   pause     spoken this long after nobody speaks any more (700ms without), or
#   barge_in  spoken this long after the last answer became audible
#   estimated true if `speech` and `pauses` are a guess
# Spans count samples from the start of the file with its silences put in; first and last are both included.
name: demo
description: A user gives a name, asks six things, hesitates once, interrupts a story and says goodbye.
voice: flite 2.2, {VOICE}
noise_floor_dbfs: -60
noise_seed: 1
patience: 15s

utterances:
"""


def main() -> None:
    """Write the files. Ends with a message if flite is missing."""
    if shutil.which("flite") is None:
        sys.exit("make_demo.py needs flite\n  = apt-get install flite")
    folder = HERE / "demo"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.wav"):
        old.unlink()
    written = [_make(number, line, folder) for number, line in enumerate(LINES, 1)]
    (HERE / "demo.yaml").write_text(HEAD + "\n".join(written))


def _make(number: int, line: Line, folder: Path) -> str:
    """Write one utterance's WAV file; its YAML."""
    import numpy as np

    samples: Samples
    samples, *rest = [_spoken(part.strip()) for part in line.text.split("…")]
    hesitation = np.zeros((HESITATION_MS - 2 * MARGIN_MS) * RATE_HZ // 1000, np.float32)
    for part in rest:
        samples = np.concatenate([samples, hesitation, part])
    path = folder / f"{number}-{line.name}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    found = annotate(samples)
    assert found is not None
    (first, last), pauses = found
    comment = f"  # {line.comment}" if line.comment else ""
    yaml = [
        f"  - audio: demo/{path.name}{comment}",
        f"    text: {line.text.replace('… ', '')}",
        f"    speech: [{first}, {last}]",
        f"    {line.when}",
        "    expects: answer",
    ]
    if pauses:
        yaml.insert(3, f"    pauses: {[list(pause) for pause in pauses]}")
    return "\n".join(yaml) + "\n"


def _spoken(text: str) -> Samples:
    """What flite makes of it, from `MARGIN_MS` before the first voiced sample to as much after the last one."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", VOICE, "-t", text, "-o", str(path)], check=True)
        with wave.open(str(path)) as file:
            if file.getframerate() != RATE_HZ:
                sys.exit(f"flite's voice {VOICE} has {file.getframerate()} Hz\n  = choose one of {RATE_HZ} Hz")
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / np.float32(32768)
    found = annotate(samples)
    assert found is not None, f"flite said nothing for {text!r}"
    (first, last), _ = found
    margin = MARGIN_MS * RATE_HZ // 1000
    padded: Samples = np.pad(samples, margin).astype(np.float32)
    return padded[first : last + 1 + 2 * margin]


if __name__ == "__main__":
    main()
