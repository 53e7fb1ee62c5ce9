"""The YAML file of one's own recordings, written for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import graphs
from flowgraph.errors import FlowError
from nodes.sound.annotate import as_yaml, write
from nodes.sound.conversation import Conversation, load_conversation
from tests.nodes.sound.test_conversation import tone, write_wav

CONVERSATIONS = Path(graphs.__path__[0]) / "conversations"


def recorded(folder: Path) -> Path:
    write_wav(folder / "1.wav", tone((100, 400), (600, 900), noise=0.001))
    write_wav(folder / "2.wav", tone((200, 800), noise=0.001))
    (folder / "2.txt").write_text("Yes:\n# it is.\n")
    return folder


def test_it_says_what_the_folder_alone_says(tmp_path: Path) -> None:
    folder = load_conversation(recorded(tmp_path))
    written = load_conversation(write(tmp_path))
    assert [one.text for one in written.utterances] == ["", "Yes: # it is."]
    for one, other in zip(folder.utterances, written.utterances, strict=True):
        assert one == other.model_copy(update={"text": ""})


def test_it_tells_that_its_times_are_guesses(tmp_path: Path) -> None:
    assert load_conversation(write(recorded(tmp_path))).estimated


def test_it_overwrites_nothing(tmp_path: Path) -> None:
    path = write(recorded(tmp_path))
    path.write_text("corrected")
    with pytest.raises(FlowError, match="there already"):
        write(tmp_path)
    assert path.read_text() == "corrected"


def test_the_command_says_what_to_do_next_or_what_is_wrong(tmp_path: Path) -> None:
    def command(folder: Path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "nodes.sound.annotate", str(folder)]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    assert command(tmp_path).stderr.startswith(f"there is no WAV file in {tmp_path}")
    assert command(tmp_path / "gone").stderr.startswith(f"there is no folder {tmp_path / 'gone'}")
    assert f"--input caller:{tmp_path}" in command(recorded(tmp_path)).stdout
    assert command(tmp_path).stderr.startswith(f"{tmp_path / 'conversation.yaml'} is there already")


@pytest.mark.parametrize("path", sorted(CONVERSATIONS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_conversation_is_the_same_after_it_was_written_and_read(tmp_path: Path, path: Path) -> None:
    conversation = load_conversation(path)
    again = tmp_path / "again.yaml"
    again.write_text(as_yaml(conversation), encoding="utf-8")
    assert load_conversation(again) == conversation


@pytest.mark.parametrize(
    "text", ["yes", "No.", "a: b", "# no", "- x", "12", "null", "it's", 'say "no"', "…", "a # b", "~"]
)
def test_any_text_is_read_as_it_was_written(tmp_path: Path, text: str) -> None:
    recorded(tmp_path)
    one = load_conversation(tmp_path).utterances[0].model_copy(update={"text": text})
    path = tmp_path / "test.yaml"
    path.write_text(as_yaml(Conversation(utterances=(one,))), encoding="utf-8")
    assert load_conversation(path).utterances[0].text == text
