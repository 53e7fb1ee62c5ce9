"""`make test` runs every test once: its stages (tests/__main__.py) leave nothing out."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.__main__ import BEHIND, BY_ITSELF, IN_FRONT, files_of, run

STAGES = [
    arguments[arguments.index("-m") + 1]
    for arguments in (*BEHIND.values(), *IN_FRONT.values(), *BY_ITSELF.values())
    if arguments[0] == "pytest"
]


@pytest.mark.parametrize(("realtime", "sound", "alone"), list(itertools.product([False, True], repeat=3)))
def test_each_test_is_in_one_stage(*, realtime: bool, sound: bool, alone: bool) -> None:
    marks = {"realtime": realtime, "sound": sound, "alone": alone or sound}  # as conftest.py has it
    elsewhere = {"soak": False, "interop": False}

    assert sum(eval(stage, marks | elsewhere) for stage in STAGES) == 1
    for mark in elsewhere:
        assert not any(eval(stage, marks | elsewhere | {mark: True}) for stage in STAGES)


def test_what_fails_is_named_and_does_not_keep_the_rest_from_running(capfd: pytest.CaptureFixture[str]) -> None:
    stages = {"one": ("platform",), "two": ("flowgraph.nowhere",), "three": ("pytest", "--version")}

    failed = run(stages, ["-q"])

    assert failed == ["two"]
    said = capfd.readouterr().out
    assert "-- two: FAILED (1)" in said
    assert "-- three: fine" in said


def test_an_idle_process_is_one_and_so_are_its_children() -> None:
    if not hasattr(__import__("os"), "SCHED_IDLE"):
        pytest.skip("this system has no idle processes: they are only nice")
    code = "import os, subprocess, sys; from tests.__main__ import wait_in_the_background; wait_in_the_background(); "
    code += (
        "print(subprocess.run([sys.executable, '-c', 'import os; print(os.sched_getscheduler(0) == os.SCHED_IDLE)'], "
    )
    code += "capture_output=True, text=True).stdout)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True"]


def test_a_stage_of_few_tests_is_given_the_files_that_may_have_some() -> None:
    names = {
        mark: {Path(file).name for file in files_of(f"{mark} and not soak")} for mark in ("realtime", "sound", "alone")
    }

    assert files_of("not (realtime or alone or soak)") == [], "all"
    assert names["sound"] < names["alone"]
    assert "test_on_sound_card.py" in names["sound"]
    assert "test_conversation.py" in names["realtime"]
    assert "test_ratios.py" in names["alone"]
    assert "test_ratios.py" not in names["realtime"]
