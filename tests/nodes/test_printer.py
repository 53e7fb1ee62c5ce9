from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import FlowError
from flowgraph.testing import run_node
from nodes.printer import Printer
from nodes.vocabulary import Audio, Speech, Token, Transcript


def test_each_frame_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    run_node(Printer(), [Transcript("two\nlines", final=True, at=1), Audio(np.zeros(320, np.float32), 16_000)])

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "Transcript" in lines[0]
    assert "text='two\\nlines' final=True" in lines[0]
    assert "samples='320 samples' rate_hz=16000" in lines[1]


def test_json_lines_can_be_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    speech = Speech(np.zeros(240, np.float32), 24_000, text="“Hi”", part=1)

    run_node(Printer(format="json"), [speech, Token("\ud83d")])

    [first, second] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["type"], first["id"], first["text"], first["samples"]) == ("Speech", speech.id, "“Hi”", "240 samples")
    assert second["text"] == "\ud83d"


def test_it_writes_into_a_file(tmp_path: Path) -> None:
    path = tmp_path / "frames.txt"

    run_node(Printer(file=str(path)), [Token("Hello"), Token("😀 \ud83d")])

    assert [line.split()[-1] for line in path.read_text().splitlines()] == ["text='Hello'", r"\ud83d'"]


def test_a_file_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match=r"can't write .*frames.txt: No such file"):
        run_node(Printer(file=str(tmp_path / "missing" / "frames.txt")), [])
