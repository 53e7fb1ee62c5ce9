"""Files of graphs: finding them, laying one over another (`extends`), and `--set` on top.

`extends: FILE` names the graph that this one is a variant of. Maps merge by name; lists and single values replace; `null` takes
an inherited entry away; a node that gets another `type` starts without the options of the old one; `name` and `description`
are never inherited. Marks point into the file that wrote the line.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowgraph.document import (
    MAX_BYTES,
    SECRET_NAME,
    DataPath,
    Document,
    Mark,
    Piece,
    Reader,
    Source,
    Span,
    close,
    compose,
    masked,
    parse,
    quoted,
    suggest,
)
from flowgraph.errors import GraphError, Problem

MAX_EXTENDS = 16
"""Files in a chain of `extends`."""

_GRAPHS = Path(__file__).resolve().parent.parent / "graphs"


def bundled() -> list[str]:
    """Names of the graphs that come with Flowgraph: `optimized`, `steps/…`."""
    found = (path.relative_to(_GRAPHS) for path in _GRAPHS.rglob("*.yaml"))
    return sorted(path.with_suffix("").as_posix() for path in found if path.parts[0] != "conversations")


def locate(name: str, folder: Path) -> Path | None:
    """The file that a name means: a path from `folder`, or a bundled graph. None if there is neither."""
    if "\0" in name:
        return None
    for path in (folder / name, _GRAPHS / f"{name}.yaml"):
        try:
            if path.is_file():
                return path
        except OSError:  # a name too long for the file system
            continue
    return None


def read(name: str, environ: Mapping[str, str]) -> Document:
    """The document of a file or of a bundled graph, laid over what it extends. Raises GraphError."""
    path = locate(name, Path())
    if path is None:
        raise GraphError([Problem(*_no_graph(name), name)])
    return extended(_read_file(path, environ), path, environ)


def _no_graph(name: str) -> tuple[str, str]:
    """Why a name means no graph, and what to do."""
    known = suggest(name.removeprefix("graphs/").removesuffix(".yaml"), bundled(), what="graphs that come with it")
    if not name.strip():
        return "the name of a graph is missing", f"name a YAML file, or one of the {known}"
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 - of a name that may be too long
    except FileNotFoundError:
        beside = next((f"{name}{end}" for end in (".yaml", ".yml") if locate(f"{name}{end}", Path())), "")
        known = f"did you mean {beside}?" if beside else known
        return "no such file, and no graph of that name comes with Flowgraph", known
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds a character that no name may"
        return f"can't be read: {why}", known
    if stat.S_ISDIR(mode):
        return "this is a folder, not a graph", "name a file in it"
    return "this is a device or a pipe, not a graph", "name a YAML file"


def _read_file(path: Path, environ: Mapping[str, str]) -> Document:
    file = _shown(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 4)
    except OSError as error:
        raise GraphError([Problem(f"can't be read: {error.strerror}", "", file)]) from None
    if len(content) > MAX_BYTES:
        raise GraphError([Problem(f"larger than {MAX_BYTES // 1024} KiB", "a graph is a short text file", file)])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"this isn't a text file: byte 0x{content[error.start]:02X} is no UTF-8"
        raise GraphError([Problem(message, "a graph is a YAML file in UTF-8", file, line, 0)]) from None
    return parse(text, file, environ)


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    if not relative.startswith(".."):
        return relative
    return str(path.resolve() if ".." in path.parts else path)


def extended(document: Document, path: Path, environ: Mapping[str, str]) -> Document:
    """A document laid over the chain of files that it extends. `path` is its own file. Raises GraphError."""
    chain, seen = [document], [path.resolve()]
    while "extends" in chain[-1].data:
        top = chain[-1]
        found = top.found(("extends",))
        name = top.data.pop("extends")
        wrong = ("", "")
        base = locate(name, seen[-1].parent) if isinstance(name, str) else None
        if base is None:
            there = [file.name for file in sorted(seen[-1].parent.glob("*.yaml")) if file not in seen]
            several = "a graph extends one other, which may extend a third"
            hint = several if isinstance(name, list) else "for example extends: optimized"
            wrong = (f"extends: expected a file name, found {found}", hint)
            if isinstance(name, str):
                hint = close(name, there) or suggest(name.removesuffix(".yaml"), bundled(), what="Flowgraph's own are")
                wrong = (f"extends: there is no file {found}", hint)
        elif base.resolve() in seen:
            circle = [file.name for file in (*seen[seen.index(base.resolve()) :], base)]
            wrong = (f"extends: files that extend each other: {' -> '.join(circle)}", "one of them must stand alone")
        elif len(seen) >= MAX_EXTENDS:
            wrong = (f"extends: more than {MAX_EXTENDS} files", "extend an earlier one of them")
        if base is None or wrong[0]:
            raise GraphError([*document.problems, top.problem(("extends",), *wrong)])
        try:
            chain.append(_read_file(base, environ))
        except GraphError as error:
            raise GraphError([*document.problems, *error.problems]) from None
        seen.append(base.resolve())
    merged = chain.pop()
    while chain:
        merged = laid_over(merged, chain.pop())
    return merged


def laid_over(base: Document, top: Document) -> Document:
    """`top` merged into `base`, which is changed."""
    for name in ("name", "description"):  # these are the variant's own
        base.data.pop(name, None)
    _merge(base, top, ())
    base.marks[()] = top.marks[()]
    base.problems[:0] = top.problems
    base.files[:0] = [file for file in top.files if file not in base.files]
    base.expanded |= top.expanded
    return base


def _merge(base: Document, top: Document, path: DataPath) -> None:
    mine, theirs = base.value(path), top.value(path)
    for name, value in theirs.items():
        here = (*path, name)
        old = mine.get(name)
        merges = isinstance(old, dict) and isinstance(value, dict)
        if path == ("nodes",) and merges and value.get("type", old.get("type")) != old.get("type"):
            merges = False
        if merges:
            _merge(base, top, here)
            continue
        for gone in _under(base.marks, here):
            del base.marks[gone]
        if value is None and name in mine:
            del mine[name]
            base.removed[here] = top.marks[here]
            continue
        mine[name] = value
        for added in _under(top.marks, here):
            base.marks[added] = top.marks[added]


def _under(marks: Mapping[DataPath, Mark], path: DataPath) -> list[DataPath]:
    return [other for other in marks if other[: len(path)] == path]


# -- from the command line ----------------------------------------------------------------------------------------------


def settle(document: Document, settings: Sequence[str], environ: Mapping[str, str], written: str = "") -> None:
    """Apply `--set node.option=value` (or `services.NAME.url=…`, `budget.…=…`) in order, a new `type` first.

    `written`: what the user wrote instead, where the settings follow from something else.
    """
    for setting in sorted(settings, key=lambda text: not re.match(r"[^=]*\.type\s*=", text)):
        _settle(document, setting, environ, written)


def _settle(document: Document, setting: str, environ: Mapping[str, str], written: str) -> None:
    name, equals, text = setting.partition("=")
    shown = f"{name}={'*' * len(text)}" if SECRET_NAME.fullmatch(name.rpartition(".")[2].strip()) else masked(setting)
    source = Source(written or f"--set {shown}")

    def report(message: str, hint: str = "") -> None:
        document.problems.append(source.problem(Span(), message, hint))

    parts = [part.strip() for part in name.split(".")]
    path: DataPath = tuple(parts)
    if path[0] not in ("services", "budget", "nodes", "name", "description"):
        path = ("nodes", *parts)
    if parts[0] == "edges":
        return report("edges can't be set here", "write a file with `extends:` and its own `edges:`")
    if not equals or not all(parts) or len(path) < {"nodes": 3, "services": 3, "budget": 2}.get(str(path[0]), 1):
        return report("expected node.option=value", "for example --set vad.threshold=0.6")
    if path[0] in ("nodes", "services"):
        entries = document.value(path[:1])
        names = list(entries) if isinstance(entries, dict) else []
        if path[1] not in names:
            return report(f"there is no {path[0][:-1]} {quoted(str(path[1]))}", suggest(str(path[1]), names))
        if not isinstance(entries[path[1]], dict):
            return None  # that is reported already
    try:
        piece = _setting_value(text.strip(), source)
    except GraphError:
        return report("the value isn't YAML", "quote it once more for the shell, or balance its brackets")
    fresh = Document({}, {(): Mark(source, Span(), Span())}, document.problems, [])
    value = Reader(fresh, source, environ).read(piece, path, Span())
    document.expanded |= fresh.expanded
    here: Any = document.data
    for depth, part in enumerate(path[:-1], 1):
        if here.get(part) is None:
            here[part] = {}
            document.marks[path[:depth]] = Mark(source, Span(), Span())
        here = here[part]
        if not isinstance(here, dict):
            return report(f"{'.'.join(str(p) for p in path[:depth])} is a single value: nothing can be set inside it")
    if path[0] == "nodes" and path[2:] == ("type",) and value != here.get("type"):
        for option in [other for other in here if other != "on_error"]:
            del here[option]
    for gone in _under(document.marks, path):
        del document.marks[gone]
    here[path[-1]] = value
    document.marks |= {added: mark for added, mark in fresh.marks.items() if added}
    return None


def _setting_value(text: str, source: Source) -> Piece:
    """A flow list, map or quoted text as YAML; anything else is one plain value, whatever characters it holds."""
    if text[:1] in ("[", "{", "'", '"'):
        problems: list[Problem] = []
        piece = compose(text, source, problems)
        if piece is None or problems:
            raise GraphError(problems or [Problem("nothing there")])
        return _without_places(piece)
    return Piece(Span(), text=text, plain=True)


def _without_places(piece: Piece) -> Piece:
    piece.span, piece.inside = Span(), -1
    for part in _parts(piece):
        _without_places(part)
    return piece


def _parts(piece: Piece) -> Iterator[Piece]:
    yield from piece.items
    for key, value in piece.pairs or ():
        yield key
        yield value
