"""Where sound comes from and goes to, as a YAML file says it.

- `default`: the system's microphone or speaker; without one, the bundled caller or a silent speaker
- a name: the device of that name, or whose name contains it
- `file:PATH.wav`: plays a file as the microphone; as a speaker, writes one
- `caller:CONVERSATION`: a recorded user: a YAML file, a folder of WAV files, or the name of a bundled one
- `null`: silence in; out, a speaker that nobody hears but that takes its time
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator

from flowgraph.document import close
from flowgraph.errors import DeviceError
from flowgraph.files import SOUND_FILES, address_beside, beside
from flowgraph.node import Placed

Kind = Literal["default", "name", "file", "caller", "null"]
Direction = Literal["input", "output"]

BUNDLED_CALLER = "demo"


def _placed(address: str, folder: str) -> str:
    """An address in a file of that folder, as the working directory sees it."""
    kind, _, what = address.strip().partition(":")
    if kind != "caller" or what.removesuffix(".yaml") in bundled_callers():
        return address_beside(address, folder)
    return f"caller:{beside(what, folder)}"


DeviceName = Annotated[str, BeforeValidator(lambda value: "null" if value is None else value), Placed(_placed)]
"""An option's type: a device address. YAML reads a bare `null` as nothing, which is what it means."""


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A device address, taken apart."""

    kind: Kind
    what: str = ""
    """The name, the path, or the conversation."""

    def __str__(self) -> str:
        return self.what if self.kind == "name" else f"{self.kind}:{self.what}" if self.what else self.kind


def parse_address(text: str, direction: Direction) -> Address:
    """Take a device address apart. Raises ValueError with a sentence about what is wrong."""
    text = text.strip()
    if text in ("default", "null"):
        return Address(text)  # type: ignore[arg-type]
    kind, colon, what = text.partition(":")
    if colon and kind in ("file", "caller"):
        if not what:
            example = "file:question.wav" if kind == "file" else f"caller:{BUNDLED_CALLER}"
            raise ValueError(f"'{text}' names nothing: write {example}")
        if kind == "caller" and direction == "output":
            raise ValueError(f"'{text}' is somebody who speaks: it can't be a speaker (use null, or file:PATH.wav)")
        return Address(kind, what)  # type: ignore[arg-type]
    if not text:
        raise ValueError("a device is missing: default, a name, file:PATH.wav, caller:CONVERSATION or null")
    if meant := _misspelt(text, direction):
        raise ValueError(f"'{text}' would be a part of a device's name: did you mean {meant}?")
    return Address("name", text)


def _misspelt(text: str, direction: Direction) -> str:
    """What is meant by a text that isn't a device's name: `caler:demo`, `question.wav`, `defualt`; "" for what may be one."""
    kind, colon, what = text.partition(":")
    if colon and what and not what.startswith(" ") and close(kind, ("file", "caller")):
        return f"{'caller' if close(kind, ('caller',)) else 'file'}:{what}"
    if text.lower().endswith(SOUND_FILES):
        return f"file:{text}"
    if text.lower().endswith((".yaml", ".yml")) and direction == "input":
        return f"caller:{text}"
    words = ("default", "null")
    near = (word for word in words if abs(len(text) - len(word)) <= 1 and close(text, (word,)))
    return "" if text.lower() in words else next(near, "")


def require_device(text: str, direction: Direction) -> None:
    """Before anything starts: is it an address, and what it names a file that will do? Raises DeviceError, GraphError."""
    from nodes.sound import wav

    try:
        address = parse_address(text, direction)
    except ValueError as error:
        raise DeviceError(str(error)) from None
    if address.kind == "file":
        check = wav.require_readable if direction == "input" else wav.require_writable
        check(address.what)
    elif address.kind == "caller":
        from nodes.sound.conversation import load_conversation

        load_conversation(conversation_path(address.what), listen=False)


def bundled_callers() -> list[str]:
    """The names of the recorded users that come with Flowgraph."""
    return sorted(path.stem for path in _bundled().glob("*.yaml"))


def conversation_path(what: str) -> Path:
    """The file or folder of a `caller:`. Raises DeviceError."""
    if what in bundled_callers():  # also where a folder happens to be called so: `./demo` is that one
        return _bundled() / f"{what}.yaml"
    path = Path(what).expanduser()
    if path.exists():
        return path
    if (name := what.removesuffix(".yaml")) in bundled_callers():
        return _bundled() / f"{name}.yaml"
    raise DeviceError(
        f"there is no conversation {what}",
        hint=f"name a YAML file, a folder of WAV files, or a bundled one: {', '.join(bundled_callers())}",
    )


def _bundled() -> Path:
    return Path(__file__).resolve().parent.parent.parent / "graphs" / "conversations"
