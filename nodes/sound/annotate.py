"""Write the YAML file of one's own recordings, to be completed by hand: `python -m nodes.sound.annotate FOLDER`.

It holds an utterance for each WAV file, in the order of their names, with `speech` and `pauses` estimated from the level
(`nodes/sound/conversation.py`), and the text of `NAME.txt` where there is one beside `NAME.wav`. What only a person knows
is left to add: what is an answer to what, and where the estimate is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from flowgraph.errors import FlowError
from nodes.sound.conversation import Conversation, RecordedUtterance, load_conversation

NAME = "conversation.yaml"
HEAD = """\
# Made by `python -m nodes.sound.annotate`: speech and pauses are estimates, and reports say so. Where you have corrected an
# utterance by hand, remove its `estimated`. What goes where is said at the head of {demo}.
"""


def as_yaml(conversation: Conversation) -> str:
    """A conversation as its YAML file: what was set, in the order in which it is declared."""
    head = conversation.model_dump(mode="json", exclude_unset=True, exclude={"utterances"})
    lines = [f"{key}: {_value(value)}" for key, value in head.items()]
    utterances = [_utterance(utterance) for utterance in conversation.utterances]
    return "\n".join([*lines, "", "utterances:"]) + "\n" + "\n".join(utterances)


def _utterance(utterance: RecordedUtterance) -> str:
    said = utterance.model_dump(mode="json", exclude_defaults=True)
    return "  - " + "\n    ".join(f"{key}: {_value(value)}" for key, value in said.items()) + "\n"


def _value(value: Any) -> str:
    """On one line. A text without quotes where YAML reads it as what it is."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        plain = yaml.safe_load(f"key: {value}") == {"key": value}
    except yaml.YAMLError:
        plain = False
    return value if plain else json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Write the file. Ends with one clear error if there is nothing to annotate, or something to lose."""
    options = argparse.ArgumentParser(prog="python -m nodes.sound.annotate", description=__doc__)
    options.add_argument("folder", type=Path, help="WAV files, 16 kHz, mono, 16 bits")
    folder = options.parse_args().folder
    try:
        path = write(folder)
    except FlowError as error:
        sys.exit(str(error))
    print(f"{path}: look through it, add `text`, `kind` and `expects`; then `--input caller:{path}`")


def write(folder: Path) -> Path:
    """Write `conversation.yaml` into a folder of recordings. Raises FlowError."""
    path = folder / NAME
    if path.exists():
        raise FlowError(f"{path} is there already", hint="rename it, or remove it")
    if not folder.is_dir():
        raise FlowError(f"there is no folder {folder}", hint="name a folder of WAV files")
    conversation = load_conversation(folder)
    utterances = []
    for utterance in conversation.utterances:
        text = utterance.audio.with_suffix(".txt")
        said = " ".join(text.read_text(encoding="utf-8").split()) if text.is_file() else ""
        whole = {"audio": Path(utterance.audio.name), "range": None, "text": said}
        utterances.append(utterance.model_copy(update=whole))
    head = HEAD.format(demo="graphs/conversations/demo.yaml")
    path.write_text(head + as_yaml(conversation.model_copy(update={"utterances": tuple(utterances)})), encoding="utf-8")
    return path


if __name__ == "__main__":
    main()
