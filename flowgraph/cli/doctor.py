"""`flow doctor`: what is wrong here, found out by trying."""

from __future__ import annotations

import json
import math
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Find out by trying what is wrong here.")

BARS = "▁▂▃▄▅▆▇█"
FLOOR_DB = -40.0
"""Of the picture of the room's response."""
METRES_A_MS = 0.343
NEAR_MS = 12.0
"""So much more than the devices state is air and rounding."""
EARLY_MS = -5.0
REACH_MS = 400.0
"""AEC3 finds an echo that is so late, with some to spare."""
TOO_LOUD_DB = 3.0
FREE = "You may interrupt the assistant (barge_in: headphones), and need no echo canceller."
ECHOES = (
    "To interrupt it you need the `aec` node and barge_in: on, which is the graph `speakerphone`; without, the assistant "
    "would interrupt itself."
)
LONG_BUFFERS = "--set mic.latency=high --set speaker.latency=high"
LOSSY = (
    f"With the shortest buffers sound was lost: {LONG_BUFFERS} costs some milliseconds, and you are understood. "
    "(Is the machine busy? A sound server that may run with real-time priority loses less.)"
)


@app.command()
def audio(
    microphone: Annotated[
        str, typer.Option("--input", "-i", metavar="DEVICE", help="A microphone's name, or a part of it.")
    ] = "default",
    speaker: Annotated[
        str, typer.Option("--output", "-o", metavar="DEVICE", help="A speaker's name, or a part of it.")
    ] = "default",
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Play sweeps and listen: does the microphone hear the speaker, how loud, how late? Takes six seconds, twice where sound is lost.

    Exit code: 0 measured; 1 there is no device, or one that doesn't work.
    """
    check_audio(microphone, speaker, as_json=json)


def check_audio(microphone: str, speaker: str, *, as_json: bool) -> None:
    """Measure and tell. Raises DeviceError."""
    from flowgraph.cli.console import stderr, stdout
    from flowgraph.errors import DeviceError

    # By name: the engine doesn't import nodes, and only this command needs to know of sound.
    checkup = import_module("nodes.sound.checkup")
    try:
        measured = _measured(checkup, microphone, speaker, stderr())
    except ValueError as error:
        raise DeviceError(str(error)) from None
    if measured.silent:
        raise DeviceError(
            f"the microphone '{measured.microphone}' gives digital silence, even while the speaker plays",
            hint="is it muted, or may this program not use it? (macOS: System Settings, Privacy & Security, Microphone; "
            "Windows: Settings, Privacy, Microphone) `flow devices` shows the others",
        )
    if as_json:
        print(json.dumps(_as_json(measured)))
    else:
        _tell(measured, stdout())


def _measured(checkup: Any, microphone: str, speaker: str, console: Console) -> Any:
    import asyncio  # this module is imported by every command, for its options

    from rich.progress import BarColumn, Progress, TextColumn

    from flowgraph.interrupts import begin_work

    begin_work()
    columns = (TextColumn("listening"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)

        def progress(share: float) -> None:
            if not bar.tasks[task].completed and share:  # there are devices, and they have begun
                console.print("You hear four sweeps: leave volume and headphones as you use them.", style="dim")
            bar.update(task, completed=share)

        def say(words: str) -> None:
            console.print(words, style="dim")

        return asyncio.run(checkup.measure(microphone, speaker, progress, say))


def _as_json(measured: Any) -> dict[str, Any]:
    echo = measured.echo
    return {
        "microphone": measured.microphone,
        "speaker": measured.speaker,
        "one_device": measured.one_device,
        "input_latency_ms": round(measured.input_latency_ms, 2),
        "output_latency_ms": round(measured.output_latency_ms, 2),
        "stated_ms": round(measured.stated_ms, 2),
        "noise_dbfs": round(measured.noise_dbfs, 1),
        "clipped": measured.clipped,
        "latency": measured.latency,
        "lossy": measured.lossy,
        "heard": echo is not None,
        "round_trip_ms": round(measured.round_trip_ms, 2) if echo else None,
        "late_ms": round(echo.late_ms, 2) if echo else None,
        "spread_ms": round(echo.spread_ms, 2) if echo else None,
        "echo_return_loss_db": round(echo.return_loss_db, 1) if echo else None,
        "response_db": list(echo.response_db) if echo else None,
        "barge_in": measured.barge_in,
        "aec": measured.barge_in == "on",
        "notes": list(_notes(measured)),
    }


def _tell(measured: Any, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    echo = measured.echo
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(ratio=1)
    shared = " (one device with the speaker)" if measured.one_device else ""
    table.add_row("microphone", f"{measured.microphone}{shared}, {measured.input_latency_ms:.1f} ms behind the sound")
    table.add_row("speaker", f"{measured.speaker}, {measured.output_latency_ms:.1f} ms ahead of the sound")
    table.add_row("noise", f"{measured.noise_dbfs:.0f} dBFS")
    if echo is not None:
        table.add_row(
            "round trip", f"{measured.round_trip_ms:.1f} ms; by what the devices state, {measured.stated_ms:.1f} ms"
        )
        loud = f"{abs(echo.return_loss_db):.1f} dB {'quieter' if echo.return_loss_db >= 0 else 'louder'} than what is played"
        table.add_row("echo", f"{loud} (echo return loss {echo.return_loss_db:.1f} dB)")
        table.add_row("room", Text.assemble(picture(echo.response_db), (f"  {5 * len(echo.response_db)} ms", "dim")))
    console.print(table)
    console.print()
    for sentence in _notes(measured):
        console.print(Text(sentence), soft_wrap=True)
    command = (
        "flow run speakerphone"
        if measured.barge_in == "on"
        else "flow run optimized --set dialogue.barge_in=headphones"
    )
    if measured.lossy:
        command += f" {LONG_BUFFERS}"
    console.print(Text.assemble(("  = ", "cyan"), command), soft_wrap=True)


def picture(response_db: tuple[float, ...]) -> str:
    """Levels as bars, from `FLOOR_DB` up to 0."""
    steps = (max(level - FLOOR_DB, 0.0) / -FLOOR_DB * (len(BARS) - 1) for level in response_db)
    return "".join(BARS[min(math.floor(step + 0.5), len(BARS) - 1)] for step in steps)


def _notes(measured: Any) -> list[str]:
    """What it means, in plain words."""
    return [*_of_the_echo(measured), *([LOSSY] if measured.lossy else [])]


def _of_the_echo(measured: Any) -> list[str]:
    echo = measured.echo
    if echo is None:
        quiet = "The microphone doesn't hear the speaker: these are headphones, or the speaker's volume is at nothing."
        return [f"{quiet} {FREE}"]
    if measured.barge_in == "headphones":
        return [
            f"The microphone hears the speaker so faintly ({measured.echo_dbfs:.0f} dBFS) that it is as with headphones. {FREE}"
        ]
    notes = [
        f"These are open speakers: the microphone hears the assistant, at about {measured.echo_dbfs:.0f} dBFS. {ECHOES}"
    ]
    if measured.clipped or echo.return_loss_db < TOO_LOUD_DB:
        notes.append(
            "It hears it very loud: turn the speaker down or the microphone's gain, or little of you will be left."
        )
    if echo.late_ms < EARLY_MS:
        notes.append(
            f"The sound comes {-echo.late_ms:.1f} ms sooner than the devices state: `aec` makes up for that, reported latencies are "
            "too long by it."
        )
    elif echo.late_ms > REACH_MS:
        notes.append(
            f"The sound comes {echo.late_ms:.0f} ms later than the devices state: too late for `aec`. Bluetooth? Use a cable."
        )
    elif echo.late_ms > NEAR_MS:
        notes.append(
            f"The sound comes {echo.late_ms:.1f} ms later than the devices state ({echo.late_ms * METRES_A_MS:.1f} m of air, or a "
            "buffer that they leave out): `aec` finds that by itself; reported latencies are too short by the buffer's share."
        )
    return notes
