"""Deepgram's live protocol, version 1, as its cloud, its self-hosted servers and our embedded one speak it.

https://developers.deepgram.com/reference/speech-to-text/listen-streaming
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowgraph.errors import ServiceError
from nodes.clients.problems import error_in, shortened
from nodes.clients.recognisers import Result

if TYPE_CHECKING:
    from nodes.vocabulary import Samples


class Deepgram:
    """Everything is set in the URL; sound is s16le."""

    path = "/v1/listen"
    keep_alive = '{"type": "KeepAlive"}'
    finalise = '{"type": "Finalize"}'
    bye = '{"type": "CloseStream"}'

    def query(self, *, rate_hz: int, model: str, language: str) -> dict[str, str]:
        """Its own endpointing is off: two that decide where speech ends would fight."""
        settings = {
            "encoding": "linear16", "sample_rate": str(rate_hz), "channels": "1",
            "interim_results": "true", "punctuate": "true", "endpointing": "false",
            "model": model, "language": language,
        }  # fmt: skip
        return {name: value for name, value in settings.items() if value}

    def headers(self, key: str) -> dict[str, str]:
        """An API key; a bearer's token would be another scheme."""
        return {"Authorization": f"Token {key}"} if key else {}

    def encode(self, samples: Samples) -> bytes:
        """s16le; what is louder than full scale is clipped."""
        return (samples.clip(-1.0, 1.0) * 32767).astype("<i2").tobytes()

    def parse(self, message: str) -> Result | None:
        """`Results`; `Metadata`, `SpeechStarted` and `UtteranceEnd` are of no interest."""
        try:
            value = json.loads(message)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise ServiceError(
                f"not Deepgram's protocol: {shortened(message, 80)}", hint="is the URL that of an STT service?"
            )
        if problem := error_in(value):
            raise ServiceError(f"the service failed: {shortened(problem)}", hint="see the STT server's log")
        if value.get("type") != "Results":
            return None
        try:
            return _result(value)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise ServiceError(f"not Deepgram's protocol: {shortened(message, 80)}") from None


def _result(value: dict[str, Any]) -> Result:
    best = value["channel"]["alternatives"][0]
    words = best.get("words") or []
    begin = float(value.get("start") or 0.0)
    end = begin + float(value.get("duration") or 0.0)
    languages = best.get("languages") or [value["channel"].get("detected_language") or ""]
    return Result(
        text=str(best.get("transcript") or "").strip(),
        begin=float(words[0]["start"]) if words else begin,
        end=max(end, float(words[-1]["end"])) if words else end,
        has_word_times=bool(words),
        stable=bool(value.get("is_final")),
        finalised=bool(value.get("from_finalize")),
        language=str(languages[0]),
    )
