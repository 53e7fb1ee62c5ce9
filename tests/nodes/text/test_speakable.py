from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.text.speakable import speakable

MARKS = [
    "http://", "www.", "x.y", "](", "[a]", "(b)", "`", "```", "\n", "**", "*", "_", "|", "a", "1", " ", ":)", "[^1]", "<b>", "~~~", "# ",
    "- ", "mailto:", "x://", "<!--", "-->", ">", "<", "\\", "![", "\ud83d", "😀", "\ufe0f", "\u200d", ".", ",", "1.", "\t", "\r",
]  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(MARKS), max_size=30).map("".join))


@given(texts)
def test_it_never_raises_and_says_the_same_the_second_time(text: str) -> None:
    assert speakable(speakable(text)) == speakable(text)


@given(texts)
def test_what_it_gives_can_be_sent_and_holds_something_to_say(text: str) -> None:
    said = speakable(text)
    said.encode()
    assert said == "" or any(map(str.isalnum, said))
    assert "\n" not in said


@given(st.lists(st.from_regex(r"[A-Za-z]{1,9}", fullmatch=True), min_size=1, max_size=12))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    assert speakable(f"{' '.join(words)}.") == f"{' '.join(words)}."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello, world!", "Hello, world!"),
        ("# Title\nSome text", "Title. Some text"),
        ("## Closed ##\n", "Closed"),
        ("**bold**, *it*, __under__, ***both***, ~~gone~~ and _so_", "bold, it, under, both, gone and so"),
        ("**Sure,", "Sure,"),
        ("** I can", "I can"),
        ("snake_case and 2*3 and 2 * 3", "snake_case and 2*3 and 2 * 3"),
        ("- one\n* two\n+ three\n• four", "one. two. three. four"),
        ("- [ ] todo\n- [x] done", "todo. done"),
        ("One [pause:90s] two [Voice:af_sky]three.", "One two three."),
        ("[pause:1.5s]", ""),
        ("1. First\n2. Second", "1. First. 2. Second"),
        ("> a quote", "a quote"),
        ("---\n", ""),
        ("See [the docs](https://a.b/c_(d)) now.", "See the docs now."),
        ("![a cat](cat.png)", "a cat"),
        ("As they say[^1] [here][ref].", "As they say here."),
        ("[ref]: https://a.b", ""),
        (" here](http://x.y/z) now.", "here now."),
        ("see [the docs,", "see the docs,"),
        ("Go to https://x.y/z?a=1,b. Now", "Go to. Now"),
        ("Go to <https://x.y> or www.x.org!", "Go to or!"),
        ("https://example.com", ""),
        ("Mail me@x.org, or mailto:me@x.org.", "Mail me@x.org, or me@x.org."),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", "a, b. 1, 2"),
        ("```python\nprint(1)\n```\nDone.", "Done."),
        ("```\nnever closed", ""),
        ("~~~\nx\n~~~", ""),
        ("Set `x = 1` and call `print`.", "Set and call print."),
        ("Line<br>break and a < b", "Line break and a < b"),
        ("Great 👍🏽! 👨‍👩‍👧 1️⃣ 🇩🇪 ok ❤️", "Great! 1 ok"),
        ("😀", ""),
        ("Well :) ok", "Well ok"),
        ("20 °C costs 5 € (50%) & more™", "20 °C costs 5 € (50%) & more™"),
        ("C# and F#", "C# and F#"),
        ("\\*stars\\*", "stars"),
        ("你好，世界。", "你好，世界。"),
        ("नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("zero\u200bwidth \ud83d half", "zerowidth half"),
        (" \n\t", ""),
        ("...", ""),
        ("", ""),
    ],
)
def test_what_is_read_aloud(text: str, said: str) -> None:
    assert speakable(text) == said
