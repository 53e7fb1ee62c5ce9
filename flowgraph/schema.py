"""The JSON Schema of a graph file, made from the node classes, for editors (`# yaml-language-server: $schema=…`).

It knows sections, types, options, values and their descriptions. What it can't say (ports that meet, cycles, holds) `flow check` says.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from flowgraph.catalog import built_in, find
from flowgraph.node import Node, port_name, ports, service_options
from flowgraph.options import default_text, describe_field

_NAME = "^[A-Za-z][A-Za-z0-9_-]{0,63}$"
_END = "^[A-Za-z][A-Za-z0-9_-]*(\\.[A-Za-z0-9_]+)?$"
_CHAIN = "^[^>]+(->[^>]+)+$"
_DURATION = {"type": "string", "pattern": "^\\s*[0-9.]+\\s*(ns|us|µs|ms|s|min|h)\\s*$"}


def schema(types: Mapping[str, type[Node]] | None = None) -> dict[str, Any]:
    """The schema of graphs made of these types; by default those that come with Flowgraph. Raises UnusableType."""
    types = {name: find(name) for name in built_in()} if types is None else types
    definitions: dict[str, Any] = {
        "variable": {"type": "string", "pattern": "\\$\\{", "description": "${VAR} or ${VAR:-default}"},
        "service": _service(),
        "edge": _edge(),
    }
    choices: list[Any] = []
    for name, cls in types.items():
        definitions[f"node.{name}"] = _node(name, cls)
        chosen = {"type": "object", "properties": {"type": {"const": name}}, "required": ["type"]}
        choices.append({"if": chosen, "then": {"$ref": f"#/definitions/node.{name}"}})
    definitions["node"] = {
        "type": ["object", "null"],
        "properties": {
            "type": {
                "description": "The kind of node: `flow nodes` lists them; package.module:ClassName is a class of your own.",
                "anyOf": [{"enum": list(types)}, {"type": "string"}],
            }
        },
        "allOf": choices,
    }
    names = {"pattern": _NAME}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A Flowgraph graph",
        "type": "object",
        "additionalProperties": False,
        "anyOf": [{"required": ["nodes", "edges"]}, {"required": ["extends"]}],
        "properties": {
            "name": {"type": "string", "description": "By default the file's name."},
            "description": {"type": "string", "description": "What the graph is for, in a sentence."},
            "extends": {
                "type": "string",
                "description": "The graph that this one is a variant of: a file, or a bundled name.",
            },
            "services": {
                "type": "object",
                "description": "Servers by name; nodes refer to them with an option such as `service: stt`.",
                "propertyNames": names,
                "additionalProperties": {"$ref": "#/definitions/service"},
            },
            "nodes": {
                "type": "object",
                "description": "Nodes by name.",
                "propertyNames": names,
                "additionalProperties": {"$ref": "#/definitions/node"},
            },
            "edges": {
                "type": "array",
                "description": "Who feeds whom. In a variant, the whole list replaces the inherited one.",
                "items": {"$ref": "#/definitions/edge"},
            },
            "budget": {
                "type": "object",
                "description": "What a run is measured against.",
                "additionalProperties": False,
                "patternProperties": {
                    "^first_audio_p[0-9]{2}$": _or_variable(
                        {
                            **_DURATION,
                            "description": "From the last voiced sample to the first audible one.",
                            "examples": ["700ms"],
                        }
                    )
                },
            },
        },
        "definitions": definitions,
    }


def schema_text(types: Mapping[str, type[Node]] | None = None) -> str:
    """The schema as `flow schema` prints it and `graphs/schema.json` holds it."""
    return json.dumps(schema(types), indent=2, ensure_ascii=False) + "\n"


def _service() -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "url": {
                "description": "`embedded` starts the server that comes with the node; a URL uses what is there.",
                "anyOf": [
                    {"const": "embedded"},
                    {"type": "string", "pattern": "^(https?|wss?)://"},
                    {"$ref": "#/definitions/variable"},
                ],
            },
            "key": {
                "type": "string",
                "description": "Sent as the bearer token. Keep it in the environment: ${LLM_API_KEY:-}",
            },
            "options": {
                "type": "object",
                "description": "Options of the embedded server: `python -m nodes.servers.… --help` lists them.",
                "additionalProperties": {"type": ["string", "number", "boolean"]},
            },
        },
    }


def _edge() -> dict[str, Any]:
    chain = {
        "type": "string",
        "pattern": _CHAIN,
        "description": "A chain: mic -> vad -> dialogue. One port only: stt.transcript -> printer",
    }
    capacity = [{"type": "integer", "minimum": 1, "maximum": 100_000}, _DURATION, {"$ref": "#/definitions/variable"}]
    properties: dict[str, Any] = {
        "from": {"type": "string", "pattern": _END, "description": "The producer, or one port of it: stt.transcript"},
        "to": {"type": "string", "pattern": _NAME, "description": "The consumer."},
        "capacity": {"description": "How much fits: frames, or for sound a duration such as 2s.", "anyOf": capacity},
        "overflow": {
            "description": "When it is full. By default it blocks; a live producer drops the oldest; feedback fails.",
            "enum": ["block", "drop_oldest", "fail"],
        },
        "hold": {"description": "Plans stop here until their attempt is committed.", "const": "commit"},
        "feedback": {"description": "It closes a cycle: it never blocks.", "type": "boolean"},
    }
    options = {"type": "object", "additionalProperties": False, "required": ["from", "to"], "properties": properties}
    return {"if": {"type": "string"}, "then": chain, "else": options}


def _node(name: str, cls: type[Node]) -> dict[str, Any]:
    made = cls.model_json_schema(mode="validation", ref_template=f"#/definitions/node.{name}/definitions/{{model}}")
    options: dict[str, Any] = {key: _or_variable(value) for key, value in made.get("properties", {}).items()}
    for key, option in options.items():
        if isinstance(option.get("default"), int) and "a duration" in describe_field(cls.model_fields[key]):
            option["default"] = default_text(cls.model_fields[key])
    services = service_options(cls)
    for option in services:
        options[option].setdefault("description", "The name of a service declared under `services:`.")
    declared = ports(cls)
    takes = ", ".join(port_name(kind) for kind in declared.inputs) or "nothing"
    yields = ", ".join(port_name(kind) for kind in declared.outputs) or "nothing"
    summary = (cls.__doc__ or inspect.getdoc(inspect.getmodule(cls)) or "").strip().partition("\n")[0]
    about = f"{summary} Takes: {takes}. Yields: {yields}.".strip()
    own = {
        "type": {"const": name, "description": about},
        "on_error": {
            "description": "What happens when it raises. The owner of the turn may only fail.",
            "enum": ["fail"] if cls.owns_turn else ["fail", "skip", "restart"],
            "default": "fail",
        },
    }
    return {
        "description": about,
        "type": "object",
        "additionalProperties": False,
        "required": ["type", *made.get("required", [])],
        "properties": own | options,
        **({"definitions": made["$defs"]} if "$defs" in made else {}),
    }


def _or_variable(option: dict[str, Any]) -> dict[str, Any]:
    """The schema of an option, or a variable where that isn't text anyway. Titles only repeat names: they are left out."""
    option = {key: value for key, value in option.items() if key != "title"}
    plain_text = option.get("type") == "string" and not ({"pattern", "enum", "const", "format"} & option.keys())
    if plain_text:
        return option
    outside: dict[str, Any] = {
        key: option.pop(key) for key in ("description", "default", "examples", "deprecated") if key in option
    }
    inside = option.pop("anyOf") if list(option) == ["anyOf"] else [option]
    return {**outside, "anyOf": [*inside, {"$ref": "#/definitions/variable"}]}
