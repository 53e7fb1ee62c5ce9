"""Type name → node class.

1. `vad` is the one public Node class of the module `nodes.vad`: no registry, the file is the entry.
2. `mypackage.shout:Shout` is a class by its Python path.
3. Any other name is looked up in the entry-point group `flowgraph.nodes` (read only then: it scans every installed package).

A module is imported only when a graph uses its type, and must import nothing heavy.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from flowgraph.document import close
from flowgraph.errors import FlowError
from flowgraph.mistakes import ended, first_line, place
from flowgraph.node import Node, ports

GROUP = "flowgraph.nodes"
_PYTHON_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_HOME = Path(__file__).resolve().parent.parent


class UnusableType(FlowError):
    """A type name that leads to no usable node class."""

    exit_code = 2


def find(name: str, types: Mapping[str, type[Node]] | None = None) -> type[Node]:
    """The class of a type. `types` adds classes by name, before all others. Raises UnusableType."""
    if types and name in types:
        cls: object = types[name]
    elif _PYTHON_PATH.fullmatch(name):
        module_name, _, class_name = name.partition(":")
        cls = getattr(_import(module_name, name), class_name, None)
        if cls is None:
            raise UnusableType(
                f"the module {module_name} has no class {class_name}", hint=f"type: {module_name}:ClassName"
            )
    elif name in built_in():
        cls = _only_node(_import(f"nodes.{name}", name), name)
    else:
        cls = _from_entry_point(name, types or {})
    return _checked(cls, name)


def built_in() -> list[str]:
    """Names of the types that come with Flowgraph. Imports none of their modules. Raises UnusableType."""
    spec = importlib.util.find_spec("nodes")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if [Path(folder).resolve() for folder in folders] != [_HOME / "nodes"]:
        where = (
            f"the package 'nodes' that Python finds first is {folders[0]}"
            if folders
            else "the package 'nodes' is missing"
        )
        raise UnusableType(
            f"{where}, not Flowgraph's ({_HOME / 'nodes'})",
            hint="rename or move the other one, or run from another folder: `python -c 'import nodes; print(nodes)'` shows it",
        )
    modules = (module for module in pkgutil.iter_modules(folders) if not module.ispkg)
    return [m.name for m in modules if m.name != "vocabulary" and not m.name.startswith("_")]


def known() -> list[str]:
    """Every type that can be named without a Python path, Flowgraph's own first. Raises UnusableType."""
    return list(dict.fromkeys([*built_in(), *_entry_points()]))


def all_types() -> dict[str, type[Node]]:
    """The classes of all known types. Raises UnusableType at the first that can't be used."""
    return {name: find(name) for name in known()}


def _entry_points() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=GROUP)}


def _from_entry_point(name: str, types: Mapping[str, type[Node]]) -> object:
    points = _entry_points()
    if name in points and points[name] != name and _PYTHON_PATH.fullmatch(points[name]):
        return find(points[name])
    hint = close(name, [*types, *built_in(), *points]) or "`flow nodes` lists the types"
    if "." in name:
        hint = f"a class of your own is `type: package.module:ClassName`; {hint}"
    raise UnusableType(f"there is no node type '{name[:80]}'", hint=hint)


def _import(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            hint = "is it installed in this environment, or on PYTHONPATH?"
            raise UnusableType(f"type '{name}': there is no module {error.name}", hint=hint) from None
        raise UnusableType(f"type '{name}' can't be imported: {error}", hint="install what it needs") from None
    except (Exception, SystemExit) as error:
        spec = None
        with contextlib.suppress(Exception):  # its package may be what fails
            spec = importlib.util.find_spec(module)
        where = place(error, [spec.origin] if spec is not None and spec.origin is not None else [])
        why = ended(error).message if isinstance(error, SystemExit) else first_line(error)
        hint = f"correct it; python -c 'import {module}' shows the same"
        raise UnusableType(f"type '{name}' can't be imported: {why}{where}", hint=hint) from error


def _only_node(module: ModuleType, name: str) -> type[Node]:
    found = [
        value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Node)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise UnusableType(f"type '{name}': {module.__name__} must hold one public Node class, found {names}")
    return found[0]


def _checked(cls: object, name: str) -> type[Node]:
    if not (isinstance(cls, type) and issubclass(cls, Node) and cls is not Node):
        raise UnusableType(f"type '{name}' is not a node class", hint="it must be a subclass of flowgraph.Node")
    try:
        ports(cls)
    except Exception as error:
        raise UnusableType(f"type '{name}' can't be used: {error}") from None
    return cls
