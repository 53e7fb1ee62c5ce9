from __future__ import annotations

from flowgraph.frame import Heard
from nodes.turns.history import History


def heard(attempt: int, text: str, **more: object) -> Heard:
    frame = Heard(text, **more)  # type: ignore[arg-type]
    frame.turn = attempt
    return frame


def test_the_latest_heard_of_an_attempt_replaces_what_it_said_before() -> None:
    history = History("be brief", most=40)
    history.asked(3, "what is it")
    history.heard(heard(3, "It is"))
    history.heard(heard(3, "It is noon"))
    history.heard(heard(2, "stale"))

    assert history.prefix == (("system", "be brief"), ("user", "what is it"), ("assistant", "It is noon"))
    assert history.last_answer == "It is noon"


def test_a_player_that_failed_takes_nothing_back() -> None:
    history = History("", most=40)
    history.asked(1, "what is it")
    history.heard(heard(1, "It is"))
    history.heard(heard(1, "", final=True, reason="error"))

    assert history.last_answer == "It is"


def test_a_late_transcript_corrects_the_question() -> None:
    history = History("", most=40)
    history.asked(1, "what is nine thymes seven")
    history.correct("what is nine times seven")

    assert history.messages[0] == ("user", "what is nine times seven")


def test_the_beginning_changes_rarely_and_begins_with_a_question() -> None:
    history = History("s", most=40)
    changes, before = 0, history.prefix
    for attempt in range(100):
        history.asked(attempt, f"question {attempt}")
        history.heard(heard(attempt, f"answer {attempt}"))
        changes += history.prefix[: len(before)] != before
        before = history.prefix
        assert len(history.messages) <= 40
        assert history.messages[0][0] == "user"

    assert 0 < changes <= 100 // 5
    assert history.prefix[-1] == ("assistant", "answer 99")
