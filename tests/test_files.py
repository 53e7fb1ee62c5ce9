"""Files that options name: whose folder they are seen from, and that they are looked at before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flowgraph import FileName, Node
from flowgraph.errors import GraphError
from flowgraph.files import Unwritable, require_apart, unmakeable, unwritable
from flowgraph.graph import Graph
from flowgraph.node import Trouble
from nodes.sound.wav import WavTarget
from nodes.vocabulary import Audio


class Reads(Node):
    """Has an option of every form."""

    path: FileName = ""
    text: str = ""

    def process(self, frame: Audio) -> None:
        pass


GRAPH = "nodes: {{mic: {{type: mic{mic}}}, out: {{type: reads{out}}}}}\nedges: [mic -> out]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the folder `mine` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    return tmp_path


def options(text: str, name: str = "out", *settings: str, file: str = "mine/graph.yaml", **environ: str) -> object:
    """What a node of the graph in a file is made with."""
    Path(file).write_text(text, encoding="utf-8")
    return Graph.load(file, settings=settings, environ=environ, types={"reads": Reads}).nodes[name].options


def problems(*settings: str, file: str = "mine/graph.yaml") -> list[tuple[str, str]]:
    """(place, message) of all that is wrong."""
    with pytest.raises(GraphError) as caught:
        Graph.load(file, settings=settings)
    return [(f"{one.file}:{one.line}:{one.column}", one.message) for one in caught.value.problems]


# -- whose folder --------------------------------------------------------------------------------------------------------


def _sound(path: Path) -> None:
    target = WavTarget(path, 16_000)
    target.write(np.zeros(1600, np.float32))
    target.save()


def test_a_path_is_seen_from_the_file_that_states_it(folder: Path) -> None:
    text = GRAPH.format(mic="", out=", path: x.wav, text: x.wav")

    assert options(text) == {"path": "mine/x.wav", "text": "x.wav"}
    assert options(text, file="graph.yaml") == {"path": "x.wav", "text": "x.wav"}


def test_a_variants_path_is_seen_from_the_variant_and_an_inherited_one_from_its_own_file(folder: Path) -> None:
    (folder / "base.yaml").write_text(GRAPH.format(mic=", device: 'file:out.wav'", out=", path: base.txt"))
    _sound(folder / "out.wav")
    variant = "extends: ../base.yaml\nnodes: {out: {path: mine.txt}}\n"

    assert options(variant) == {"path": "mine/mine.txt"}
    assert options(variant, "mic") == {"device": "file:out.wav"}


def test_a_path_of_an_option_or_of_a_variable_is_seen_from_the_working_directory(folder: Path) -> None:
    text = GRAPH.format(mic="", out=", path: '${OUT:-x.txt}'")

    assert options(text, "out", OUT="y.txt") == {"path": "y.txt"}
    assert options(text) == {"path": "mine/x.txt"}
    assert options(text, "out", "out.path=z.txt") == {"path": "z.txt"}


def test_an_absolute_path_and_one_of_the_user_stay_what_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")

    assert options(GRAPH.format(mic="", out=", path: /a/b")) == {"path": "/a/b"}
    assert options(GRAPH.format(mic="", out=", path: ~/b")) == {"path": "/home/me/b"}


@pytest.mark.parametrize(
    ("device", "placed"),
    [
        ("file:x.wav", "file:mine/x.wav"),
        ("caller:talk", "caller:mine/talk"),
        ("caller:demo", "caller:demo"),
        ("caller:demo.yaml", "caller:demo.yaml"),
        ("default", "default"),
        ("hw:0,0", "hw:0,0"),
    ],
)
def test_a_device_is_a_path_only_where_it_says_so(folder: Path, device: str, placed: str) -> None:
    _sound(folder / "mine" / "x.wav")
    (folder / "mine" / "talk").mkdir()
    _sound(folder / "mine" / "talk" / "a.wav")

    assert options(GRAPH.format(mic=f", device: '{device}'", out=""), "mic") == {"device": placed}


# -- what is there -------------------------------------------------------------------------------------------------------

MISSING = """\
extends: optimized
nodes:
  mic: {device: "file:gone.wav"}
  dialogue: {system: "file:gone.txt"}
  speaker: {device: "file:gone/answer.wav"}
"""


def test_files_that_are_not_there_are_told_where_they_are_named(folder: Path) -> None:
    (folder / "mine" / "graph.yaml").write_text(MISSING, encoding="utf-8")
    (folder / "gone.txt").write_text("Beside the working directory, which isn't meant.")

    assert problems() == [
        ("mine/graph.yaml:3:17", "mic.device: can't read mine/gone.wav: No such file or directory"),
        (
            "mine/graph.yaml:4:22",
            "dialogue.system: can't read the system prompt mine/gone.txt: No such file or directory",
        ),
        (
            "mine/graph.yaml:5:21",
            "speaker.device: can't write mine/gone/answer.wav: mine/gone is no folder that can be written to",
        ),
    ]


def test_files_of_the_wrong_kind_are_told(folder: Path) -> None:
    (folder / "mine" / "gone.wav").write_text("RIFF, or so")
    (folder / "mine" / "gone.txt").write_bytes(b"\xff\xfe")
    (folder / "mine" / "gone" / "answer.wav").mkdir(parents=True)
    (folder / "mine" / "graph.yaml").write_text(MISSING, encoding="utf-8")

    assert [message for _, message in problems()] == [
        "mic.device: mine/gone.wav isn't a WAV file of whole-number samples: not a WAVE file",
        "dialogue.system: can't read the system prompt mine/gone.txt: it isn't a text in UTF-8",
        "speaker.device: can't write mine/gone/answer.wav: it is a folder",
    ]


def test_a_conversation_that_is_wrong_is_told_at_its_own_line(folder: Path) -> None:
    (folder / "mine" / "talk.yaml").write_text("utterances:\n  - {audio: gone.wav}\n")
    (folder / "mine" / "graph.yaml").write_text("extends: optimized\nnodes: {mic: {device: 'caller:talk.yaml'}}\n")

    assert problems() == [
        ("mine/talk.yaml:2:13", "can't read mine/gone.wav: No such file or directory"),
    ]
    assert problems("mic.device=caller:talk.yaml") == [
        ("--set mic.device=caller:talk.yaml:0:0", "mic.device: there is no conversation talk.yaml"),
    ]


@pytest.mark.parametrize(
    ("node", "option"),
    [
        ("wav_writer", "path"),
        ("printer", "file"),
        ("wav_recorder", "folder"),
        ("post_tts", "folder"),
    ],
)
def test_what_cannot_be_written_is_told_by_every_node_that_writes(folder: Path, node: str, option: str) -> None:
    from flowgraph import catalog

    (folder / "file").touch()
    cls = catalog.find(node)

    [trouble] = cls(**{option: str(folder / "file" / "x")}).problems()
    assert trouble[0].startswith(f"{option}: can't write")
    assert list(cls(**{option: str(folder / "x")}).problems()) == []


def test_what_comes_by_a_pipe_is_not_looked_at_before_its_time(folder: Path) -> None:
    os.mkfifo(folder / "pipe")

    Graph.load("optimized", settings=["dialogue.system=file:pipe", "mic.device=file:pipe"])


def test_a_node_may_tell_what_is_wrong_inside_a_file(folder: Path) -> None:
    class Odd(Reads):
        def problems(self) -> Iterator[Trouble]:
            yield "path is odd"
            yield "text: it is odd, too", "take another one"

    (folder / "graph.yaml").write_text(GRAPH.format(mic="", out=", text: x").replace("reads", "odd"))
    with pytest.raises(GraphError) as caught:
        Graph.load("graph.yaml", types={"odd": Odd})

    assert [(one.message, one.hint, one.column) for one in caught.value.problems] == [
        ("out: path is odd", "", 27),
        ("out.text: it is odd, too", "take another one", 50),
    ]


# -- what can be written -------------------------------------------------------------------------------------------------


def test_a_file_can_be_written_where_there_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "none" / "x")
    os.mkfifo(tmp_path / "pipe")

    for whole in (True, False):
        assert unwritable(tmp_path / "new", whole=whole) == ""
        assert unwritable(tmp_path / "file", whole=whole) == ""
        assert unwritable(tmp_path, whole=whole) == "it is a folder"
        assert unwritable(tmp_path / "file" / "x", whole=whole) == "Not a directory"
        assert unwritable(tmp_path / "none" / "x", whole=whole).endswith("none is no folder that can be written to")
        assert unwritable(tmp_path / "link", whole=whole).endswith("none is no folder that can be written to")
        assert unwritable("a\0b", whole=whole) != ""
    assert unwritable(tmp_path / "pipe") == ""
    assert unwritable(tmp_path / "pipe", whole=True) != ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "pipe"]


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o555)

    assert unwritable(tmp_path / "new").endswith("is no folder that can be written to")
    assert unwritable(tmp_path / "file") == ""
    assert unwritable(tmp_path / "file", whole=True) != ""
    assert unmakeable(tmp_path / "new") != ""


def test_a_folder_can_be_made_where_no_file_is_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert unmakeable(tmp_path) == unmakeable(tmp_path / "a" / "b") == ""
    assert unmakeable(tmp_path / "file") == "it is no folder"
    assert unmakeable(tmp_path / "file" / "a").endswith("file is no folder that can be written to")


def test_two_options_name_two_files(tmp_path: Path) -> None:
    require_apart({"--a": tmp_path / "x", "--b": tmp_path / "y", "--c": None, "--d": None})
    with pytest.raises(Unwritable, match="--a and --b name the same file"):
        require_apart({"--a": tmp_path / "x", "--b": tmp_path / "z" / ".." / "x"})
