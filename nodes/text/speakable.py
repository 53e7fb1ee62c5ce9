"""What of a text can be read aloud: no Markdown, addresses, code or pictures.

`speakable` never raises, and `speakable(speakable(text)) == speakable(text)`: the rules run until none of them changes anything.
Every rule shortens the text or takes a newline or a bar from it, so they come to an end.
"""

from __future__ import annotations

import re

_EMOJI = (
    "\U0001f000-\U0001faff"  # pictographs, faces, flags, skin tones
    "\u2600-\u27bf\u2b00-\u2bff"  # symbols, dingbats, stars
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa"  # watch, hourglass, media keys
    "\u25aa-\u25ff\u2934\u2935\u3030\u303d\u3297\u3299"
)
_CODE_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,}).*?(?:^[ \t]*\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"(`+)(?!`)([^\n]*?)(?<!`)\1(?!`)")
_PLAIN_NAME = re.compile(r"\s*[^\W_]+(?:[ '’-][^\W_]+)?\s*")
"""One or two words in code marks are a name inside a sentence; anything else is code."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # What no voice can say: lone surrogates can't even be sent; control characters and invisible marks.
    (re.compile(r"[\ud800-\udfff\x00-\x08\x0e-\x1f\x7f\u200b\u2060\ufeff\u00ad\ufffc\ufffd]"), ""),
    (re.compile(rf"[{_EMOJI}](?:[{_EMOJI}\ufe0e\ufe0f\u200d\u20e3]|[\U000e0020-\U000e007f])*"), " "),
    (re.compile(r"[\ufe0e\ufe0f\u20e3]"), ""),
    (re.compile(r"(?<!\S)[:;]-?[()DP](?!\S)"), " "),
    # What Kokoro-FastAPI takes for a command: so long a silence, another voice.
    (re.compile(r"\[(?:pause|voice):[^\[\]\n]*\]", re.IGNORECASE), " "),
    # Links and addresses.
    (re.compile(r"^[ \t]*\[[^\]\n]+\]:[ \t]*\S.*$", re.MULTILINE), ""),
    (re.compile(r"!?\[([^\[\]\n]*)\]\([^()\n]*(?:\([^()\n]*\)[^()\n]*)*\)"), r"\1"),
    (re.compile(r"\[\^[^\[\]\s]*\]"), ""),
    (re.compile(r"\[([^\[\]\n]+)\]\[[^\[\]\n]*\]"), r"\1"),
    (re.compile(r"\]\([^()\s]*\)?|\[(?![^\[\]\n]*\])"), " "),
    (re.compile(r"<(?:https?://|mailto:)[^<>\s]*>", re.IGNORECASE), ""),
    (re.compile(r"</?[A-Za-z][^<>\n]*>|<!--.*?-->", re.DOTALL), " "),
    (
        re.compile(
            r"(?:\b[a-z][a-z0-9+.-]{1,15}://|\bwww\.)[^\s<>]*[^\s<>.,;:!?'\"”’»)\]}*_。，！？、]", re.IGNORECASE
        ),
        "",
    ),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://|\bmailto:", re.IGNORECASE), ""),
    # Lines: headings, quotes, bullets, tasks, rules. Numbers of lists are read.
    (re.compile(r"^[ \t]*[-*_=+|:][-*_=+|: \t]*$", re.MULTILINE), ""),
    (re.compile(r"^[ \t]*(?:#{1,6}(?=[ \t]|$)|>|[-*+•‣◦⁃](?=[ \t]))[ \t]*", re.MULTILINE), ""),
    (re.compile(r"(?<!\S)\[[ xX]\](?=\s)"), ""),
    (re.compile(r"[ \t]+#+[ \t]*$", re.MULTILINE), ""),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!|~>-])"), r"\1"),
    # Emphasis. A single mark between digits or spaces is arithmetic, one inside a word is a name.
    (re.compile(r"\*{2,}|~{2,}|(?<!\w)_+(?=\S)|(?<=\S)_+(?!\w)"), ""),
    (re.compile(r"(?<!\w)\*(?=\S)|(?<=\S)\*(?!\w)"), ""),
    (re.compile(r"`+"), ""),
    # What the rules above leave behind.
    (re.compile(r"\[\s*\]|\(\s*\)|\{\s*\}"), ""),
    (re.compile(r"[^\S\n]+([.,;:!?…)\]])"), r"\1"),
)
_SPACES = re.compile(r"[^\S\n]+")


def speakable(text: str) -> str:
    """One line to read aloud; "" if there is nothing in it to say."""
    while (cleaned := _cleaned(text)) != text:
        text = cleaned
    return text


def _cleaned(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _CODE_FENCE.sub("", text)
    text = _INLINE_CODE.sub(lambda match: match[2] if _PLAIN_NAME.fullmatch(match[2]) else "", text)
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = " ".join(line for line in _sentences(text) if line)
    return text if any(map(str.isalnum, text)) else ""


def _sentences(text: str) -> list[str]:
    """The lines; one that only its end of line ended gets a full stop, a row of a table its commas."""
    lines = [_SPACES.sub(" ", _row(line)).strip() for line in text.splitlines()]
    lines = [line for line in lines if any(map(str.isalnum, line)) or len(lines) == 1]
    return [f"{line}." if line[-1:].isalnum() else line for line in lines[:-1]] + lines[-1:]


def _row(line: str) -> str:
    if line.count("|") < 2:
        return line
    return ", ".join(cell.strip() for cell in line.split("|") if cell.strip())
