"""YAML text → plain data, and the place of everything in it.

1. Safe: a subset of YAML 1.2. No tags, one document, size, depth, values and aliases bounded, nothing is ever constructed but
   text, numbers, booleans, lists and maps. `true` and `false` are the only booleans: `off`, `on`, `yes`, `no` stay text.
2. Every path (`("nodes", "vad", "threshold")`) has a mark: file, line and column of its key and of its value.
3. `${VAR}` and `${VAR:-default}` are replaced in values (`$${` is a literal `${`). A message shows the text as it was
   written, never what a variable held: that may be a secret. The value of a `key:` is masked wherever a line is shown.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import yaml

from flowgraph.errors import GraphError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
TOO_DEEP = f"nested more than {MAX_DEPTH} deep"
MAX_VALUES = 20_000
"""Keys and values of a file, aliases written out."""
MOST_MASKED = 1000
"""Characters of a text that are searched for secrets before the first of them are quoted."""

DataPath: TypeAlias = tuple[str | int, ...]

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\})?")
_NESTED = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*:-[^{}]*\$\{")
_VARIABLES = "write ${VAR} or ${VAR:-default}; $${ is a literal ${"
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}|0x[0-9a-fA-F]{1,200}|0o[0-7]{1,200}")
_NUMBER = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
SECRET_NAME = re.compile(r"(?:.*_)?(?:key|secret|password|token)", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"""((?:\w*_)?(?:key|secret|password|token)["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,{}'"][^\s,}]*)""",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"""((?:://|\burl["']?\s*[:=]\s*+(?!["']?[a-z]+://)["']?)(?:[^\s/@:"']*:)?)(\S+)@""")
"""Greedy: in a URL that is wrong, `/` and `@` may belong to the password."""
_URL_PARTS = re.compile(r"(\w+://)?(?:.*@)?([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_TOKEN = re.compile(r"(?=[\w+=-]*\d)[\w+=-]{16,}")
"""Long, and with a digit: more likely a key than a name."""
_HARMLESS = re.compile(r"""["']?\$\{[A-Za-z_][A-Za-z0-9_]*(?::-)?\}?["']?""")

# libyaml's words for the mistakes that people make, and ours.
_SYNTAX = {
    "mapping values are not allowed": (
        "a second ':' on this line, or a line that is indented too far",
        "put text that holds ': ' in quotes; lines of one map begin in the same column",
    ),
    "did not find expected key": (
        "this line doesn't fit the lines above it",
        "lines of one map begin in the same column; a quote or bracket above may be open",
    ),
    "did not find expected '-' indicator": (
        "this line doesn't fit the list above it",
        "items of one list begin with '- ' in the same column",
    ),
    "did not find expected ',' or '}'": (
        "',' or '}' is missing before this",
        "a map in braces is {name: value, name: value}",
    ),
    "did not find expected ',' or ']'": ("',' or ']' is missing before this", "a list in brackets is [value, value]"),
    "did not find expected node content": ("a value is missing here", "write the value, or take the comma away"),
    "could not find expected ':'": ("a ':' is missing on the line above", "an entry of a map is `name: value`"),
    "found unexpected end of stream": ("a quote is opened here and never closed", "close it, or take it away"),
    "found unexpected document indicator": ("a quote is opened here and never closed", "close it, or take it away"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Where something is written: line and column from 1, and how many characters of that line it takes."""

    line: int = 0
    column: int = 0
    width: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A file (or a command-line option) that a graph is made from."""

    file: str
    lines: tuple[str, ...] = ()

    def problem(self, span: Span, message: str, hint: str = "") -> Problem:
        text = ""
        if 0 < span.line <= len(self.lines) and len(self.lines[span.line - 1]) <= 300:
            text = masked("".join(c if c.isprintable() else " " for c in self.lines[span.line - 1])).rstrip()
        width = max(1, min(span.width, len(text) - span.column + 1))
        return Problem(message, hint, self.file, span.line, span.column if span.line else 0, text, width)


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """Where a value and its key are written."""

    source: Source
    key: Span
    value: Span
    written: str | None = None
    """The text of a single value before variables were replaced; None for maps and lists."""
    inside: int = -1
    """Columns from the value's start to its first character; -1 = characters and columns don't correspond."""
    variables: tuple[str, ...] = ()
    """Those of the environment that are filled in."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spot:
    """What a message points at: a value or its key, or `width` characters of a text from `offset` on."""

    path: DataPath
    key: bool = False
    offset: int = 0
    width: int = 0


@dataclasses.dataclass(slots=True)
class Document:
    """Plain data with places."""

    data: dict[str, Any]
    marks: dict[DataPath, Mark]
    problems: list[Problem]
    files: list[str]
    """In the order in which their problems are shown."""
    expanded: dict[str, str] = dataclasses.field(default_factory=dict)
    """What came out of variables → how it was written."""
    removed: dict[DataPath, Mark] = dataclasses.field(default_factory=dict)
    """What a variant takes out of what it extends, and where it says so."""

    def problem(self, spot: Spot | DataPath, message: str, hint: str = "") -> Problem:
        """A problem at that spot, or at the nearest thing around it that was written."""
        source, span = self._find(spot)
        return source.problem(span, message, hint)

    def is_reported(self, path: DataPath) -> bool:
        """Is there a problem with this value already, as a text?"""
        here = self.problem(path, "")
        return any((p.file, p.line, p.column) == (here.file, here.line, here.column) for p in self.problems)

    def place(self, spot: Spot | DataPath) -> str:
        """`file:line:column`."""
        source, span = self._find(spot)
        return f"{source.file}:{span.line}:{span.column}" if span.line else source.file

    def found(self, path: DataPath) -> str:
        """A value as a message may quote it: as written, short, and no secret."""
        mark = self.marks.get(path)
        if any(isinstance(part, str) and SECRET_NAME.fullmatch(part) for part in path[-1:]):
            return "something else"
        value = self.value(path)
        if mark is not None and isinstance(value, int | float) and mark.written:
            return mark.written[:60]
        if mark is None or mark.written is None:
            return "a map" if isinstance(value, dict) else "a list" if isinstance(value, list) else "nothing"
        text = mark.written
        return quoted(masked(text[:MOST_MASKED])) if text else "nothing"

    def found_url(self, path: DataPath) -> str:
        """A value that should be a URL, as a message may quote it: with what a variable holds, and no secret."""
        mark, value = self.marks.get(path), self.value(path)
        if mark is None or not mark.written or not isinstance(value, str):
            return self.found(path)
        if not mark.variables:
            return quoted(masked_url(value)) if value else "nothing"
        if _VARIABLE.fullmatch(mark.written) is None:
            return f"{quoted(masked_url(mark.written))} with {listed(mark.variables)} from the environment"
        [name] = mark.variables
        what = "something else" if SECRET_NAME.fullmatch(name) else quoted(masked_url(value))
        return f"{what} in the environment variable {name}"

    def held_in(self, path: DataPath) -> str:
        """Where somebody changes a value: `the environment variable LLM_API_KEY, which talk.yaml:8:40 names`, or its place."""
        mark = self.marks.get(path)
        names = [match[1] for match in _VARIABLE.finditer(mark.written or "") if match[1]] if mark is not None else []
        place = self.place(path)
        if not names:
            return place
        return f"the environment variable{'s' * (len(names) > 1)} {listed(names)}, which {place} names"

    def value(self, path: DataPath) -> Any:
        """The data at a path; None where there is none."""
        here: Any = self.data
        for part in path:
            if isinstance(here, dict):
                here = here.get(part)
            elif isinstance(here, list) and isinstance(part, int) and part < len(here):
                here = here[part]
            else:
                return None
        return here

    def as_written(self, message: str) -> str:
        """A message that somebody else made, with what variables held replaced by the variables."""
        for value, written in sorted(self.expanded.items(), key=lambda item: -len(item[0])):
            message = message.replace(value, written)
        return message

    def raise_problems(self, more: Iterable[Problem] = ()) -> None:
        """Raise GraphError with every problem, in the order of the text, if there is one."""
        problems = self.in_order([*self.problems, *more])
        if problems:
            raise GraphError(problems)

    def in_order(self, problems: Iterable[Problem]) -> list[Problem]:
        """Each problem once, in the order of the text; those of `--set` come last."""
        ranks = {file: rank for rank, file in enumerate(self.files)}
        return sorted(dict.fromkeys(problems), key=lambda p: (ranks.get(p.file, len(ranks)), p.line, p.column))

    def _find(self, spot: Spot | DataPath) -> tuple[Source, Span]:
        spot = spot if isinstance(spot, Spot) else Spot(spot)
        path, key = spot.path, spot.key
        while path not in self.marks:
            path, key = path[:-1], True
        mark = self.marks[path]
        span = mark.key if key else mark.value
        if spot.width and path == spot.path and not key and mark.inside >= 0:
            span = Span(span.line, span.column + mark.inside + spot.offset, spot.width)
        return mark.source, span


def masked(line: str) -> str:
    """A line of a file without the values of its keys and passwords."""
    line = _URL_PASSWORD.sub(lambda m: m[0] if _HARMLESS.fullmatch(m[2]) else f"{m[1]}{'*' * len(m[2])}@", line)
    return _SECRET_TEXT.sub(
        lambda m: m[0] if _HARMLESS.fullmatch(m[2]) else m[1] + "*" * len(m[2]), line
    )  # fmt: skip


def masked_url(url: str) -> str:
    """What should be a URL, without user, password, query, and whatever else may be a key."""
    match = _URL_PARTS.fullmatch(url)
    assert match is not None, "it takes any text"
    scheme, host, path, rest = match.groups(default="")
    user = "***@" if "@" in url else ""
    host = host if scheme else _TOKEN.sub("***", host)
    return scheme + user + host + _TOKEN.sub("***", path) + (f"{rest[0]}***" if rest else "")


def quoted(text: str, most: int = 60) -> str:
    """'text', printable and short."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return f"'{text}'" if len(text) <= most else f"'{text[:most]}…'"


def listed(names: Iterable[str], last: str = "and") -> str:
    """`a, b and c`."""
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def suggest(name: str, known: Iterable[str], *, what: str = "known") -> str:
    """`did you mean 'x'?`, or what there is."""
    names = list(dict.fromkeys(known))
    return close(name, names) or (f"{what}: {', '.join(names)}" if names else "")


def close(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or "" where nothing is close."""
    same = {other.lower().replace("-", "_"): other for other in known}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), same, n=1, cutoff=0.6)
    return f"did you mean '{same[found[0]]}'?" if found else ""


@dataclasses.dataclass(slots=True)
class Piece:
    """A YAML node: text, items or pairs."""

    span: Span
    text: str | None = None
    plain: bool = False
    inside: int = -1
    items: list[Piece] = dataclasses.field(default_factory=list)
    pairs: list[tuple[Piece, Piece]] | None = None


def parse(text: str, file: str, environ: Mapping[str, str]) -> Document:
    """The data of a YAML text. Raises GraphError where it can't be read at all; lesser problems are in `problems`."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise GraphError([Problem(f"larger than {MAX_BYTES // 1024} KiB", "a graph is a short text file", file)])
    odd = re.search("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", text)
    if odd:
        line = len(_LINE_BREAK.findall(text, 0, odd.start())) + 1
        message = f"this isn't a text file: it holds the character U+{ord(odd[0]):04X}"
        raise GraphError([Problem(message, "a graph is a YAML file in UTF-8", file, line, 0)])
    source = Source(file, tuple(_LINE_BREAK.split(text)))
    document = Document({}, {(): Mark(source, Span(), Span())}, [], [file])
    root = compose(text, source, document.problems)
    if root is None or root.text == "":
        raise GraphError([*document.problems, Problem("the file is empty", "it needs `nodes:` and `edges:`", file)])
    if root.pairs is None:
        message = "expected a map with `nodes:` and `edges:`, found " + ("a list" if root.text is None else "text")
        raise GraphError([*document.problems, source.problem(root.span, message)])
    Reader(document, source, environ).read(root, (), Span())
    return document


def compose(text: str, source: Source, problems: list[Problem]) -> Piece | None:
    """The tree of a text, made from parser events with a stack: no recursion, so depth can be refused in time."""
    root: Piece | None = None
    stack: list[tuple[Piece, list[Piece], str]] = []  # a collection, what it holds so far, its anchor
    anchors: dict[str, Piece] = {}
    documents = pieces = 0
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            piece: Piece | None = None
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise GraphError(
                        [
                            source.problem(
                                _span(event), "a second document begins here", "one graph per file: remove the '---'"
                            )
                        ]
                    )
                continue
            tag = getattr(event, "tag", None)
            if tag is not None:
                hint = "a graph holds only text, numbers, true, false, lists and maps"
                problems.append(source.problem(_span(event), f"the tag {quoted(tag)} is not allowed", hint))
            if isinstance(event, yaml.ScalarEvent):
                piece = _scalar(event, source)
                if event.anchor:
                    anchors[event.anchor] = piece
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchors:
                    inside = any(anchor == event.anchor for _, _, anchor in stack)
                    message = (
                        f"'*{event.anchor}' stands inside itself"
                        if inside
                        else f"'*{event.anchor}' names no anchor above"
                    )
                    raise GraphError([source.problem(_span(event), message, f"an anchor is written &{event.anchor}")])
                piece = anchors[event.anchor]
            elif isinstance(event, yaml.CollectionStartEvent):
                if len(stack) >= MAX_DEPTH:
                    raise GraphError([source.problem(_span(event), TOO_DEEP, "a graph is flat: simplify it")])
                started = Piece(_span(event))
                stack.append((started, [], event.anchor or ""))
                continue
            elif isinstance(event, yaml.CollectionEndEvent):
                piece, held, anchor = stack.pop()
                if isinstance(event, yaml.MappingEndEvent):
                    piece.pairs = list(zip(held[::2], held[1::2], strict=True))
                else:
                    piece.items = held
                if anchor:
                    anchors[anchor] = piece
            if piece is None:
                continue
            pieces += 1
            if pieces > MAX_VALUES:
                raise GraphError(
                    [source.problem(piece.span, f"more than {MAX_VALUES} values", "a graph is a short text file")]
                )
            if stack:
                stack[-1][1].append(piece)
            else:
                root = piece
    except yaml.YAMLError as error:
        raise GraphError([*problems, _syntax_problem(error, source)]) from None
    return root


def _span(event: Any) -> Span:
    start, end = event.start_mark, event.end_mark
    width = end.column - start.column if end.line == start.line else 1
    return Span(start.line + 1, start.column + 1, max(1, width))


def _scalar(event: yaml.ScalarEvent, source: Source) -> Piece:
    span, text = _span(event), event.value
    inside = 1 if event.style else 0
    if event.style in ("|", ">"):
        inside = -1
    else:
        line = source.lines[span.line - 1] if span.line <= len(source.lines) else ""
        start = span.column - 1 + inside
        if line[start : start + len(text)] != text:  # an escape, or text over several lines
            inside = -1
    return Piece(span, text=text, plain=not event.style, inside=inside)


def _syntax_problem(error: yaml.YAMLError, source: Source) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return source.problem(Span(), "this isn't a text file", "a graph is a YAML file in UTF-8")
    said = str(error.problem or "this isn't YAML")
    mark = error.problem_mark or error.context_mark
    if "end of stream" in said and error.context_mark is not None:
        mark = error.context_mark
    span = Span(mark.line + 1, mark.column + 1) if mark is not None else Span()
    if "maximum nesting depth" in said:  # libyaml reads ahead of its events, and has a bound of its own
        return source.problem(span, TOO_DEEP, "a graph is flat: simplify it")
    line = source.lines[span.line - 1] if 0 < span.line <= len(source.lines) else ""
    at = line[span.column - 1 : span.column]
    if "cannot start any token" in said:
        if at == "\t":
            return source.problem(span, "a tab, where YAML takes only spaces", "indent with spaces")
        return source.problem(span, f"a value can't begin with '{at}'", "put it in quotes")
    message, hint = next((ours for words, ours in _SYNTAX.items() if words in said), (f"this isn't YAML: {said}", ""))
    if "\t" in line[: len(line) - len(line.lstrip())]:
        tab = Span(span.line, line.index("\t") + 1)
        return source.problem(tab, "a tab, where YAML takes only spaces", "indent with spaces")
    if "flow" in str(error.context):  # inside braces or brackets
        opened = error.context_mark.line + 1 if error.context_mark is not None else span.line
        if "${" in line:
            hint = 'inside braces and brackets a variable needs quotes: "${VAR}"'
        elif opened < span.line:
            hint = f"what is opened on line {opened} isn't closed"
    return source.problem(span, message, hint)


class Reader:
    """Turns pieces into data, and notes where each came from."""

    def __init__(self, document: Document, source: Source, environ: Mapping[str, str]) -> None:
        self._document = document
        self._source = source
        self._environ = environ
        self._values = 0

    def read(self, piece: Piece, path: DataPath, key: Span) -> Any:
        """The data of a piece, put into the document's marks under `path`."""
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            what = f"more than {MAX_VALUES} values" if self._values > MAX_VALUES else TOO_DEEP
            message = f"{what} once aliases are written out"
            raise GraphError([self._source.problem(piece.span, message, "a graph is a short text file")])
        if path:
            self._document.marks[path] = Mark(self._source, key, piece.span, piece.text, piece.inside)
        if piece.text is not None:
            text, variables = self._expand(piece)
            if text != piece.text:  # the columns no longer correspond
                self._document.marks[path] = Mark(self._source, key, piece.span, piece.text, variables=variables)
            return plain_value(text) if piece.plain else text
        if piece.pairs is None:
            return [self.read(item, (*path, index), item.span) for index, item in enumerate(piece.items)]
        data = self._document.data if not path else {}
        lines: dict[str, int] = {}
        for name, value in piece.pairs:
            if name.text is None or name.text == "<<":
                hint = "use `extends: FILE` to build on another graph" if name.text else "a key is a name"
                self._report(
                    name.span, "a key must be a name" if name.text is None else "merge keys are not supported", hint
                )
            elif name.text in lines:
                hint = f"it is on line {lines[name.text]} already; keep one of them"
                self._report(name.span, f"{quoted(name.text)} is written twice", hint)
            else:
                lines[name.text] = name.span.line
                data[name.text] = self.read(value, (*path, name.text), name.span)
        return data

    def _report(self, span: Span, message: str, hint: str) -> None:
        self._document.problems.append(self._source.problem(span, message, hint))

    def _expand(self, piece: Piece) -> tuple[str, tuple[str, ...]]:
        """A text with its variables replaced, and the names of those that the environment holds."""
        text = piece.text or ""
        if "${" not in text:
            return text, ()
        names: dict[str, None] = {}

        def value(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name, default = match[1], match[2]
            if name is None:
                nested = _NESTED.match(text, match.start())
                message = "a variable inside a variable's default" if nested else "'${' is not closed"
                hint = "a default is plain text: ${VAR:-default}" if nested else _VARIABLES
                self._report(piece.span, f"{message} in {quoted(text)}", hint)
                return ""
            held = self._environ.get(name, "")
            if held or (default is None and name in self._environ):
                names[name] = None
                self._hide(held, match[0])
                return held
            if default is None:
                hint = f"set {name}, or give a default: ${{{name}:-default}}"
                self._report(piece.span, f"the environment variable {name} is not set", hint)
            return default or ""

        expanded = _VARIABLE.sub(value, text)
        if names:
            self._hide(expanded, text)
        return expanded, tuple(names)

    def _hide(self, value: str, written: str) -> None:
        if len(value) >= 4:  # shorter ones are no secrets, and would garble messages
            self._document.expanded[value] = written


def plain_value(text: str) -> Any:
    """What unquoted text means: null, true, false, a number, or itself."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    if _NUMBER.fullmatch(text):
        value = float(re.sub(r"\.(?=[iInN])", "", text))
        return text if math.isinf(value) and text[-1].isdigit() else value
    return text
