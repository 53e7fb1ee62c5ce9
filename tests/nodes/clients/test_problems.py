from __future__ import annotations

import json

import pytest

from flowgraph.errors import ServiceError
from nodes.clients.problems import error_in, message_of, named, refusal, shortened


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no such model", "type": "x"}}, "no such model"),
        ({"error": "queue full"}, "queue full"),
        ({"message": "nope", "object": "error"}, "nope"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": {"error": "validation_error", "message": "Voice 'x' not found."}}, "Voice 'x' not found."),
        ({"detail": [{"loc": ["body", "speed"], "msg": "too fast", "type": "t"}]}, "speed: too fast"),
        ({"err_code": "INVALID_AUTH", "err_msg": "Invalid credentials."}, "Invalid credentials."),
        ({"error": {"code": 503}}, "503"),
    ],
)
def test_a_services_own_words_are_found(body: object, message: str) -> None:
    assert message_of(json.dumps(body)) == message


def test_a_web_page_is_its_title() -> None:
    assert message_of(b"<html><head><title>502 Bad\nGateway</title></head><body>x</body></html>") == "502 Bad Gateway"


def test_plain_text_is_one_line() -> None:
    assert message_of("out of\nmemory\n") == "out of memory"


def test_what_is_too_long_is_cut() -> None:
    assert shortened("a, " * 200, 10) == "a, a, a…"


def test_a_closer_name_is_suggested() -> None:
    body = '{"detail": {"message": "Voice \'af_hart\' not found. Available voices: af_alloy, af_heart, am_adam"}}'
    error = refusal("the TTS service 'tts'", 400, body, key_hint="", wanted="af_hart")
    assert str(error) == (
        "the TTS service 'tts' answers 400: Voice 'af_hart' not found. Available voices: af_alloy, af_heart, am_adam\n"
        "  = did you mean af_heart?"
    )


def test_without_a_key_it_says_where_to_set_it() -> None:
    error = refusal(
        "the LLM service 'llm'", 401, '{"error": {"message": "Missing API key"}}', key_hint="set LLM_API_KEY"
    )
    assert error.hint == "set LLM_API_KEY"


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_takes_no_such_request_may_be_another_one(status: int) -> None:
    assert (
        "is the URL"
        in refusal("service 'tts' (http://host)", status, "<title>Error response</title>", key_hint="").hint
    )


def test_an_error_without_a_name_gets_one_and_an_error_with_it_stays() -> None:
    error = named(ServiceError("the answer was cut off"), "service 'llm' (http://llm)")

    assert str(error) == "service 'llm' (http://llm): the answer was cut off"
    assert str(named(error, "service 'llm' (http://llm)")) == "service 'llm' (http://llm): the answer was cut off"


@pytest.mark.parametrize("value", [{"error": None, "choices": []}, {"choices": []}, [], None, {"type": "Results"}])
def test_no_error_is_no_error(value: object) -> None:
    assert error_in(value) == ""
