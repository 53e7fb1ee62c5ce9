from __future__ import annotations

import pytest

from nodes.text.pauses import pause_behind


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("It is done. ", 1),
        ("Really?", 1),
        ('He said "Go." ', 1),
        ("*Bold.* ", 1),
        ("今天很好！", 1),
        ("Sure,", 0.4),
        ('"Sure," ', 0.4),
        ("好的，", 0.4),
        ("Here is what I found:", 0.6),
        ("Well —", 0.6),
        ("A heading\n", 1),
        ("Sure,\n", 1),
        ("and then we go ", 0),
        ("", 0),
        ("\n", 0),
        ("...", 1),
        ("***", 0),
    ],
)
def test_a_reader_pauses_as_the_mark_says(text: str, share: float) -> None:
    assert pause_behind(text) == share
