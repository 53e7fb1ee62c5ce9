"""The scripts that make conversations: pauses come out as drawn, where the script says, and annotated as the rule says."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from graphs.conversations import make_human, make_turns, takes
from nodes.sound.conversation import RATE_HZ, Conversation, annotate, load_conversation
from tests.nodes.sound.test_conversation import tone

MS = RATE_HZ // 1000


def needs(program: str) -> pytest.MarkDecorator:
    there = shutil.which(program) is not None or os.environ.get("CI") == "true"
    return pytest.mark.skipif(not there, reason=f"no {program}: apt install {program}")


def is_annotated_by_the_rule(conversation: Conversation) -> None:
    for utterance in conversation.utterances:
        assert annotate(utterance.samples()) == ((utterance.speech_start, utterance.speech_end), utterance.hesitations)


def test_a_pause_is_as_long_as_drawn_by_the_rule_that_annotates_it(tmp_path: Path) -> None:
    parts = takes.leveled([tone((50, 400)), tone((300, 900)), tone((0, 1000))])
    takes.write(tmp_path / "x", [takes.Take("hesitation", parts, {})], "# made up\n", "a tone", 7)
    for room, seed in (("quiet", 14), ("loud", 15)):
        conversation = load_conversation(tmp_path / f"x-{room}.yaml")
        drawn = takes._pauses_ms(seed)
        pauses = conversation.utterances[0].hesitations
        assert [last + 1 - first for first, last in pauses] == [next(drawn) * MS, next(drawn) * MS]
        is_annotated_by_the_rule(conversation)


def test_pauses_are_not_stored(tmp_path: Path) -> None:
    parts = takes.leveled([tone((50, 400)), tone((300, 900))])
    takes.write(tmp_path / "x", [takes.Take("hesitation", parts, {})], "", "a tone", 7)
    around = 2 * (takes.HEAD_MS + takes.TAIL_MS)
    assert (tmp_path / "x/1-hesitation.wav").stat().st_size == pytest.approx(2 * MS * (350 + 600 + around), rel=0.02)


def test_drawn_pauses_are_log_normal_within_their_bounds() -> None:
    pauses = takes._pauses_ms(1)
    drawn = np.array([next(pauses) for _ in range(5000)])
    assert drawn.min() >= 200
    assert drawn.max() <= 3000
    assert np.median(drawn) == pytest.approx(475, abs=25)
    assert np.mean(drawn > 1500) == pytest.approx(0.045, abs=0.015)


@needs("flite")
@pytest.mark.parametrize("voice", ["awb", "us-klatt"])
def test_a_script_is_cut_at_its_marks_and_between_sentences(tmp_path: Path, voice: str) -> None:
    script = tmp_path / f"{voice}.txt"
    script.write_text(
        "hesitation | My name is … David. What is … yours? | asked: Who are you?\nbackchannel | Mhm. | barge_in: 2s\n"
    )
    make_turns._make(script)
    conversation = load_conversation(tmp_path / f"{voice}-quiet.yaml")
    first, second = conversation.utterances
    assert (first.text, first.asked, first.expects) == ("My name is David. What is yours?", "Who are you?", "answer")
    assert len(first.silences) == 3
    assert (second.expects, second.silences, second.barge_in) == ("nothing", (), 2_000_000_000)
    is_annotated_by_the_rule(conversation)


@needs("flite")
def test_a_word_boundary_is_where_the_synthesiser_says_it_is(tmp_path: Path) -> None:
    for voice in (make_turns.VOICES["awb"], make_turns.VOICES["us-klatt"]):
        whole, places = voice.speak("Nobody stops tomorrow.", [1, 2])
        levels = takes.levels_dbfs(whole)
        begin, end = (int(sample) for sample in np.flatnonzero(levels > -45)[[0, -1]])
        assert begin < places[0] < places[1] < end
        assert (places[0] - begin) / (end - begin) == pytest.approx(0.33, abs=0.1)
        assert (places[1] - begin) / (end - begin) == pytest.approx(0.62, abs=0.12)


@needs("ffmpeg")
def test_telephone_prompts_become_utterances_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = tmp_path / "en_US_f_Allison"
    said = {"conf-thereare": "There are currently", "conf-otherinparty": "other participants in the conference"}
    said |= {"away": "He is away.", "late": "That was too late.", "menu": "To exit the menu...", "beep": "[a beep]"}
    for name in [*said, *make_human.SETS["D"]]:
        path = prompts / f"{name}.g722"
        path.parent.mkdir(parents=True, exist_ok=True)
        pcm = (tone((100, 1100), total_ms=1500) * 32767).astype("<i2").tobytes()
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-f",
            "s16le",
            "-ar",
            str(RATE_HZ),
            "-ac",
            "1",
            "-i",
            "-",
            "-f",
            "g722",
            str(path),
        ]
        subprocess.run(command, input=pcm, check=True)
    texts = tmp_path / "texts.gz"
    lines = [f"{name}: {text}" for name, text in said.items()] + [f"digits/{n}: {n}" for n in range(10)]
    texts.write_bytes(gzip.compress("\n".join(["; a comment", *lines]).encode()))
    monkeypatch.setattr(make_human, "SOUNDS", tmp_path)
    monkeypatch.setattr(make_human, "TEXTS", str(texts))
    monkeypatch.setattr("sys.argv", ["make_human.py", str(tmp_path / "out"), "--repeats", "1"])
    make_human._sound.cache_clear()
    make_human.main()
    conversation = load_conversation(tmp_path / "out/en-loud.yaml")
    kinds = {utterance.kind: utterance for utterance in conversation.utterances}
    assert [one.text for one in conversation.utterances if one.kind == "plain"] == ["He is away.", "That was too late."]
    assert kinds["two_sentences"].text == "He is away. That was too late."
    assert len(kinds["two_sentences"].silences) == 1
    assert kinds["hesitation"].text.startswith("There are currently ")
    assert len(kinds["hesitation"].silences) == 2
    is_annotated_by_the_rule(conversation)

    monkeypatch.setattr("sys.argv", ["make_human.py", str(tmp_path / "out"), "--repeats", "1", "--split"])
    make_human.main()
    halves = [load_conversation(tmp_path / f"out/{name}/en-loud.yaml").utterances for name in ("fit", "report")]
    whole = [utterance.text for utterance in conversation.utterances]
    assert [[utterance.text for utterance in half] for half in halves] == [whole[::2], whole[1::2]]
