"""The clients of OpenAI and Deepgram in front of our embedded servers: what they make of our answers is what they make of the real ones."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import graphs
from tests.interop.running import ROOT, ours, serving, theirs
from tests.servers.understood import words

pytestmark = [pytest.mark.interop, pytest.mark.realtime, pytest.mark.timeout(120)]

DATE = Path(graphs.__path__[0]) / "conversations" / "demo" / "5-date.wav"
SAID = "please tell me the date of today"


def told(command: Sequence[str]) -> list[dict[str, Any]]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def openai() -> dict[str, Any]:
    with serving(ours("llm")) as llm, serving(ours("tts")) as tts, serving(ours("stt")) as stt:
        [made] = told(theirs("openai_client.py", llm, tts, stt, DATE))
    return made


@pytest.fixture(scope="module")
def deepgram() -> list[dict[str, Any]]:
    with serving(ours("stt")) as stt:
        return told(theirs("deepgram_client.py", stt, DATE))


def test_openais_client_reads_the_language_models_answers(openai: dict[str, Any]) -> None:
    assert openai["models"]
    assert openai["whole"] == openai["helped"] == "".join(filter(None, openai["streamed"]))
    assert "sixty three" in openai["whole"]
    assert openai["finished"] == "stop"
    assert openai["usage"]["total_tokens"] == openai["usage"]["prompt_tokens"] + openai["usage"]["completion_tokens"]


def test_openais_client_hears_what_is_synthesised(openai: dict[str, Any]) -> None:
    assert len(openai["pieces"]) > 2, "it streams"
    assert sum(openai["pieces"]) == openai["pcm"]
    assert openai["wav"] == "RIFF"


def test_openais_client_reads_transcripts(openai: dict[str, Any]) -> None:
    assert words(openai["json"]) == words(openai["text"]) == words(SAID)
    assert [word for word, _, _ in openai["words"]] == words(SAID)
    assert all(begin < end <= openai["duration"] for _, begin, end in openai["words"])


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ("no messages", "BadRequestError", "messages must be a list"),
        ("no voice", "BadRequestError", "'nobody' not found"),
        ("too fast", "UnprocessableEntityError", "speed"),
        ("no sound", "BadRequestError", "no WAV file"),
    ],
)
def test_openais_client_tells_our_errors_apart(openai: dict[str, Any], asked: str, kind: str, said: str) -> None:
    assert openai[asked][0] == kind
    assert said in openai[asked][1]


def test_deepgrams_client_knows_every_message(deepgram: list[dict[str, Any]]) -> None:
    kinds = [message["class"] for message in deepgram]

    assert set(kinds) == {"ListenV1SpeechStarted", "ListenV1Results", "ListenV1UtteranceEnd", "ListenV1Metadata"}
    assert kinds[0] == "ListenV1SpeechStarted"
    assert kinds[-1] == "ListenV1Metadata"


def test_deepgrams_client_reads_partial_and_final_transcripts(deepgram: list[dict[str, Any]]) -> None:
    results = [message for message in deepgram if message["class"] == "ListenV1Results"]
    final = [message["channel"]["alternatives"][0] for message in results if message["is_final"]]

    assert len([message for message in results if not message["is_final"]]) >= 2
    assert words(" ".join(alternative["transcript"] for alternative in final)) == words(SAID)
    assert any(message["from_finalize"] for message in results)
    placed = [(word["start"], word["end"]) for alternative in final for word in alternative["words"]]
    assert placed == sorted(placed)
    assert len(placed) == len(words(SAID))
