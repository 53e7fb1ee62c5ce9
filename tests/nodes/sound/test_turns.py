"""The recordings by which end-of-turn policies are judged are what they say they are."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import graphs
from nodes.sound.conversation import RATE_HZ, Conversation, annotate, load_conversation
from tests.nodes.sound.test_caller import answers, call

CONVERSATIONS = Path(graphs.__path__[0]) / "conversations"
FILES = sorted((CONVERSATIONS / "turns").glob("*/*.yaml"))
SETS = ("fit", "report")
ROOMS = {"quiet": -60, "loud": -50}
KINDS = {
    "plain", "question", "command", "hesitation", "list", "number", "one_word", "two_sentences", "trailing_um", "side_talk",
    "backchannel", "cough", "interruption",
}  # fmt: skip
OVER_THE_ANSWER = {"backchannel", "cough", "interruption"}
NOT_MEANT = {"backchannel", "cough", "side_talk"}


def conversations(where: str, room: str = "*") -> list[Conversation]:
    return [load_conversation(path) for path in sorted((CONVERSATIONS / "turns" / where).glob(f"*-{room}.yaml"))]


def pauses_ms(where: str, room: str) -> list[float]:
    """Every pause of 100 ms or more within an utterance: the opportunities to cut somebody off."""
    utterances = itertools.chain.from_iterable(one.utterances for one in conversations(where, room))
    return [(last + 1 - first) * 1000 / RATE_HZ for one in utterances for first, last in one.hesitations]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_speech_and_pauses_are_annotated_as_the_rule_says(path: Path) -> None:
    conversation = load_conversation(path)
    assert not conversation.estimated
    for utterance in conversation.utterances:
        found = annotate(utterance.samples())
        assert found == ((utterance.speech_start, utterance.speech_end), utterance.hesitations), utterance.audio.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_all_of_it_is_said_to_an_assistant_who_answers(path: Path) -> None:
    held = call(path, answers())
    assert [one.text for one in held.utterances] == [one.text for one in load_conversation(path).utterances]


@pytest.mark.parametrize("room", ROOMS)
def test_there_are_enough_of_them(room: str) -> None:
    count = {where: len(pauses_ms(where, room)) for where in SETS}
    assert sum(len(one.utterances) for where in SETS for one in conversations(where, room)) >= 120
    assert sum(count.values()) >= 300
    assert min(count.values()) >= 150


@pytest.mark.parametrize("where", SETS)
def test_every_voice_speaks_in_every_room_and_in_one_set_only(where: str) -> None:
    rooms = Counter((one.voice, one.noise_floor_dbfs) for one in conversations(where))
    voices = {one.voice for one in conversations(where)}
    assert len(voices) >= 4
    assert rooms == dict.fromkeys(itertools.product(voices, ROOMS.values()), 1)
    assert not voices & {one.voice for other in SETS if other != where for one in conversations(other)}


@pytest.mark.parametrize("where", SETS)
def test_every_kind_is_there_and_says_what_it_expects(where: str) -> None:
    utterances = [utterance for one in conversations(where) for utterance in one.utterances]
    assert {utterance.kind for utterance in utterances} == KINDS
    for utterance in utterances:
        assert (utterance.barge_in is not None) == (utterance.kind in OVER_THE_ANSWER), utterance.audio.name
        assert (utterance.expects == "nothing") == (utterance.kind in NOT_MEANT), utterance.audio.name
        assert bool(utterance.text) == (utterance.kind != "cough"), utterance.audio.name
        assert utterance.kind != "one_word" or utterance.asked, utterance.audio.name


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("where", SETS)
def test_pauses_are_as_long_as_people_make_them(where: str, room: str) -> None:
    long = np.array([pause for pause in pauses_ms(where, room) if pause >= 200])
    assert 350 <= np.median(long) <= 550
    assert 0.06 <= np.mean(long > 1000) <= 0.22
    assert long.max() <= 3000


@pytest.mark.parametrize("where", SETS)
def test_the_loud_room_has_other_pauses_than_the_quiet_one(where: str) -> None:
    for quiet, loud in zip(conversations(where, "quiet"), conversations(where, "loud"), strict=True):
        for one, other in zip(quiet.utterances, loud.utterances, strict=True):
            assert (one.audio, one.text) == (other.audio, other.text)
            assert not one.silences or one.silences != other.silences


def test_all_bundled_sound_is_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in CONVERSATIONS.rglob("*.wav")) <= 10_000_000


def test_every_recording_is_used() -> None:
    used = {utterance.audio for where in SETS for one in conversations(where) for utterance in one.utterances}
    assert used == set((CONVERSATIONS / "turns").rglob("*.wav"))
