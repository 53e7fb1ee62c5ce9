"""Deepgram's own client, in front of our embedded speech-to-text server; each message that it was given, as a line of JSON.

Runs in the environment of `make interop`: python deepgram_client.py URL WAV
"""

from __future__ import annotations

import json
import sys
import threading
import time
import wave
from typing import Any

from deepgram import DeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

FRAME_S = 0.02


def main(url: str, path: str) -> None:
    sockets = url.replace("http", "ws", 1)
    environment = DeepgramClientEnvironment(base=url, production=sockets, agent=sockets, agent_rest=url)
    with wave.open(path) as file:
        rate_hz, sound = file.getframerate(), file.readframes(file.getnframes())
    client = DeepgramClient(api_key="none", environment=environment)
    with client.listen.v1.connect(
        model="nova-3",
        encoding="linear16",
        sample_rate=rate_hz,
        interim_results=True,
        vad_events=True,
        utterance_end_ms=1000,
    ) as socket:
        socket.on(EventType.MESSAGE, tell)
        reader = threading.Thread(target=socket.start_listening)
        reader.start()
        size = 2 * int(rate_hz * FRAME_S)
        for begin in range(0, len(sound), size):
            socket.send_media(sound[begin : begin + size])
            time.sleep(FRAME_S)
        socket.send_keep_alive()
        socket.send_finalize()
        for _ in range(75):  # the caller has said what there is: silence, until the server has heard 1.5 s of it
            socket.send_media(bytes(size))
        socket.send_close_stream()
        reader.join(20)


def tell(message: Any) -> None:
    print(json.dumps({"class": type(message).__name__, **json.loads(message.model_dump_json())}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
