"""OpenAI's own client, in front of our embedded servers; what it makes of their answers, as JSON.

Runs in the environment of `make interop`: python openai_client.py LLM_URL TTS_URL STT_URL WAV
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai

QUESTION = [{"role": "user", "content": "What is nine times seven?"}]


def main(llm_url: str, tts_url: str, stt_url: str, wav: str) -> None:
    llm, tts, stt = (openai.OpenAI(base_url=f"{url}/v1", api_key="none") for url in (llm_url, tts_url, stt_url))
    print(json.dumps({**chat(llm), **speech(tts), **transcription(stt, Path(wav))}))


def chat(llm: openai.OpenAI) -> dict[str, Any]:
    def ask(**options: Any) -> Any:
        return llm.chat.completions.create(**{"model": "demo", "messages": QUESTION, **options})

    streamed = list(ask(stream=True, stream_options={"include_usage": True}))
    with llm.chat.completions.stream(model="demo", messages=QUESTION) as helped:
        for _ in helped:
            pass
    return {
        "models": [model.id for model in llm.models.list()],
        "whole": ask().choices[0].message.content,
        "streamed": [chunk.choices[0].delta.content for chunk in streamed if chunk.choices],
        "finished": [chunk.choices[0].finish_reason for chunk in streamed if chunk.choices][-1],
        "usage": streamed[-1].usage.model_dump(),
        "helped": helped.get_final_completion().choices[0].message.content,
        "no messages": refused(lambda: ask(messages=[])),
    }


def speech(tts: openai.OpenAI) -> dict[str, Any]:
    def say(**options: Any) -> Any:
        asked = {"model": "tts-1", "voice": "alloy", "input": "It is noon. It is late.", "response_format": "pcm"}
        return tts.audio.speech.create(**{**asked, **options})

    with tts.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="It is noon. It is late.", response_format="pcm"
    ) as response:
        pieces = [len(piece) for piece in response.iter_bytes()]
    return {
        "pieces": pieces,
        "pcm": len(say().content),
        "wav": say(response_format="wav").content[:4].decode(),
        "no voice": refused(lambda: say(voice="nobody")),
        "too fast": refused(lambda: say(speed=9)),
    }


def transcription(stt: openai.OpenAI, wav: Path) -> dict[str, Any]:
    def hear(file: Any = wav, **options: Any) -> Any:
        return stt.audio.transcriptions.create(model="whisper-1", file=file, **options)

    verbose = hear(response_format="verbose_json", timestamp_granularities=["word"])
    return {
        "json": hear().text,
        "text": hear(response_format="text"),
        "words": [[word.word, word.start, word.end] for word in verbose.words],
        "duration": verbose.duration,
        "no sound": refused(lambda: hear(("noise.wav", b"nothing"))),
    }


def refused(ask: Callable[[], Any]) -> list[Any]:
    """The class by which the client tells the error, and the server's words."""
    try:
        ask()
    except openai.APIStatusError as error:
        return [type(error).__name__, json.dumps(error.body)]
    return []


if __name__ == "__main__":
    main(*sys.argv[1:])
