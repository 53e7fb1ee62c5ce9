"""Say how well recorded conversations are heard: words by the embedded recogniser, speech by the `vad` node.

    python graphs/conversations/check_turns.py [CONVERSATION ...]

Without a name, all of `turns/`. For each: the word error rate of the real server (one stream for the whole conversation,
finalised 400 ms after the end of each utterance), and what the VAD makes of it: utterances with no onset, the error of
its last voiced sample (median, and the largest), and in how many of the pauses of 200 ms or more it hears silence.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp  # noqa: E402

from flowgraph.testing import run_node  # noqa: E402
from flowgraph.units import MS, SECOND  # noqa: E402
from nodes.sound.conversation import RATE_HZ, Conversation, RecordedUtterance, load_conversation  # noqa: E402
from nodes.vad import Vad  # noqa: E402
from nodes.vocabulary import Audio, SpeechStarted, Voice  # noqa: E402
from tests.servers.understood import errors, words  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

LEAD_MS, AFTER_MS = 700, 400
BLOCK = RATE_HZ * 20 // 1000
QUERY = {"encoding": "linear16", "sample_rate": str(RATE_HZ), "endpointing": "false"}
FINALIZE, CLOSE = (json.dumps({"type": kind}) for kind in ("Finalize", "CloseStream"))


def main() -> None:
    """Print a line for each conversation."""
    paths = [Path(name) for name in sys.argv[1:]] or sorted((HERE / "turns").glob("*/*.yaml"))
    command = [sys.executable, "-m", "nodes.servers.stt", "--port", "0", "--parent"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        url = json.loads(server.stdout.readline())["url"]
        for path in paths:
            conversation = load_conversation(path)
            print(f"{path}: {asyncio.run(_recognise(url, conversation))}; {_detect(conversation)}", flush=True)
        server.stdin.close()


async def _recognise(url: str, conversation: Conversation) -> str:
    wrong: Counter[str] = Counter()
    total: Counter[str] = Counter()
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/v1/listen", params=QUERY) as socket:
        for utterance in conversation.utterances:
            sound = _heard(conversation, utterance)[: (LEAD_MS + AFTER_MS) * RATE_HZ // 1000 + utterance.speech_end]
            pcm = (sound * 32767).astype("<i2").tobytes()
            for begin in range(0, len(pcm), 2 * BLOCK):
                await socket.send_bytes(pcm[begin : begin + 2 * BLOCK])
            await socket.send_str(FINALIZE)
            heard = await _finals(socket)
            said = words(utterance.text)
            wrong[utterance.kind] += errors(said, words(heard))
            total[utterance.kind] += len(said)
        await socket.send_str(CLOSE)
    worst = max((kind for kind in total if total[kind]), key=lambda kind: wrong[kind] / total[kind])
    return (
        f"{wrong.total()} of {total.total()} words wrong, WER {wrong.total() / total.total():.0%}"
        f" (worst: {worst}, {wrong[worst] / total[worst]:.0%})"
    )


async def _finals(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Everything said up to the answer to a Finalize."""
    texts = []
    while True:
        result: dict[str, Any] = await socket.receive_json(timeout=60)
        if result.get("is_final"):
            texts.append(result["channel"]["alternatives"][0]["transcript"])
        if result.get("from_finalize"):
            return " ".join(texts)


def _detect(conversation: Conversation) -> str:
    missed, off_ms, silent, long = [], [], 0, 0
    for utterance in conversation.utterances:
        sound = _heard(conversation, utterance)
        blocks = [
            Audio(sound[at : at + BLOCK], RATE_HZ, at=at * SECOND // RATE_HZ) for at in range(0, len(sound), BLOCK)
        ]
        frames = run_node(Vad(), blocks)
        voices = [frame for frame in frames if isinstance(frame, Voice)]
        if not any(isinstance(frame, SpeechStarted) for frame in frames):
            missed.append(utterance.audio.stem)
            continue
        offset = LEAD_MS * RATE_HZ // 1000
        last = voices[-1].at - voices[-1].silence_ms * MS
        off_ms.append((last - (offset + utterance.speech_end) * SECOND // RATE_HZ) / MS)
        for first, end in utterance.hesitations:
            if end + 1 - first < RATE_HZ // 5:
                continue
            begin, over = ((offset + sample) * SECOND // RATE_HZ for sample in (first, end))
            long += 1
            silent += any(begin < voice.at <= over + 64 * MS and voice.silence_ms >= 96 for voice in voices)
    return (
        f"VAD missed {missed or 'none'}, ends {statistics.median(off_ms):+.0f} ms"
        f" ({max(off_ms, key=abs):+.0f} ms at most), hears {silent} of {long} pauses"
    )


def _heard(conversation: Conversation, utterance: RecordedUtterance) -> Samples:
    """An utterance in the noise of its room, which begins `LEAD_MS` before it and goes on for a second."""
    import numpy as np

    samples = np.pad(utterance.samples(), (LEAD_MS * RATE_HZ // 1000, RATE_HZ))
    return samples + np.resize(conversation.noise_floor(), len(samples))


if __name__ == "__main__":
    main()
