from __future__ import annotations

import pytest

from nodes.servers.espeak import manner
from nodes.servers.voices import ENGLISH, UnknownVoice, Voice


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("af_heart", [("af_heart", 1.0)]),
        ("alloy", [("af_alloy", 1.0)]),
        ("af_bella(3)+af_sky(1)", [("af_bella", 0.75), ("af_sky", 0.25)]),
        ("af_bella + af_sky", [("af_bella", 0.5), ("af_sky", 0.5)]),
        ("af_bella(2)-af_sky(1)", [("af_bella", 2.0), ("af_sky", -1.0)]),
    ],
)
def test_a_voice_is_a_name_or_a_mix(text: str, parts: list[tuple[str, float]]) -> None:
    assert list(Voice.parse(text, ENGLISH).parts) == parts


def test_a_mix_is_called_after_what_weighs_most() -> None:
    assert Voice.parse("af_bella(1)+bm_lewis(2)", ENGLISH).name == "bm_lewis"


@pytest.mark.parametrize("text", ["", "xx", "af_bella+", "+af_bella+xx", "af_bella(", "af_bella(two)", "af bella;"])
def test_an_unknown_voice_names_the_known_ones(text: str) -> None:
    with pytest.raises(UnknownVoice, match=r"not found\. Available voices: af_alloy, "):
        Voice.parse(text, ENGLISH)


def test_weights_that_cancel_out_are_refused() -> None:
    with pytest.raises(UnknownVoice, match="sum to 0"):
        Voice.parse("af_bella-af_bella", ENGLISH)


def test_espeaks_voices_differ_as_kokoros_do() -> None:
    manners = {name: manner(name, "en-us", 1.0) for name in ENGLISH}

    assert manners["af_heart"].pitch > manners["am_michael"].pitch
    assert manner("af_heart", "en-us", 2.0).words_per_minute == 2 * manners["af_heart"].words_per_minute
    assert manner("bf_emma", "en-gb", 1.0).voice != manners["bf_emma"].voice
    assert len(set(manners.values())) > 4
