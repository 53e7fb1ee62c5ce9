from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.servers.answers import JOKES, STORY, WHAT_I_AM, answer

NOW = datetime(2026, 11, 23, 8, 10)  # noqa: DTZ001  # local time is what a clock on the wall shows


def reply(*messages: str, now: datetime = NOW) -> str:
    """The answer to the last of these user messages, between which the assistant answered."""
    history: list[tuple[str, str]] = []
    for message in messages:
        history.append(("user", message))
        history.append(("assistant", answer(history, now)))
    return history[-1][1]


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ("What time is it?", "It is ten minutes past eight in the morning."),
        ("do you know what time it is", "It is ten minutes past eight in the morning."),
        ("hello what time is it", "Hello. It is ten minutes past eight in the morning."),
        ("what is the time in new york", "I only know the time here. It is ten minutes past eight in the morning."),
        ("please tell me the date of today", "Today is Monday, the twenty third of November."),
        ("what day is tomorrow", "Tomorrow is Tuesday, the twenty fourth of November."),
        ("what year is it", "It is the year twenty twenty six."),
        ("what is twelve times seven", "Twelve times seven is eighty four."),
        ("what is ten divided by three", "Ten divided by three is about three point three three three."),
        ("12 / 0", "Nobody can divide by zero."),
        ("what is the capital of france", "The capital of France is Paris."),
        ("thank you very much good bye", "You're welcome. Have a nice day."),
        ("stop that is enough", "All right, I will be quiet."),
        ("stop", "All right, I will be quiet."),
        ("stop the story please", "All right, I will be quiet."),
        ("stop it tell me what day it is", "Today is Monday, the twenty third of November."),
        ("wait what is two plus two", "Two plus two is four."),
        ("count to five", "One, two, three, four, five."),
        ("hi there", "Hello! What can I do for you?"),
        ("how are you", "I'm fine, thank you. How can I help you?"),
        ("", "I did not hear anything. Please say it again."),
        ("?!", "I did not hear anything. Please say it again."),
    ],
)
def test_what_people_say_is_answered(said: str, answered: str) -> None:
    assert reply(said) == answered


@pytest.mark.parametrize(
    ("hour", "minute", "said"),
    [
        (0, 0, "It is twelve o'clock in the morning."),
        (12, 1, "It is one minute past twelve in the afternoon."),
        (23, 59, "It is fifty nine minutes past eleven in the evening."),
    ],
)
def test_the_time_is_said_in_words(hour: int, minute: int, said: str) -> None:
    assert reply("what time is it", now=NOW.replace(hour=hour, minute=minute)) == said


def test_the_same_words_are_understood_however_they_are_written() -> None:
    assert reply("WHAT'S  the time?!") == reply("what’s the time") == reply("what is the time")


def test_a_name_is_remembered() -> None:
    assert reply("good morning my name is david") == "Hello. Nice to meet you, David."
    assert reply("my name is david", "do you remember my name") == "Your name is David."
    assert reply("my name is david", "no call me robert", "what is my name") == "Your name is Robert."
    assert reply("do you remember my name") == "You have not told me your name yet."


def test_a_sum_goes_on_where_the_last_one_ended() -> None:
    assert reply("what is nine plus five", "and plus five") == "Fourteen plus five is nineteen."
    assert (
        reply("what is nine plus five", "hello", "times two", "minus one") == "Twenty eight minus one is twenty seven."
    )
    assert reply("plus five").startswith("I have no result to go on with.")


def test_the_story_is_long_and_goes_on_in_the_sentence_where_it_was_stopped() -> None:
    told = STORY[: STORY.index("storm")]
    history = [
        ("user", "tell me a story"),
        ("assistant", told),
        ("user", "stop"),
        ("assistant", "All right, I will be quiet."),
    ]

    assert reply("tell me your longest story") == STORY
    assert len(STORY.split()) > 130  # the better part of a minute: time enough to interrupt it
    assert answer([*history, ("user", "please go on")], NOW).startswith(
        "All right. One winter night there was a terrible storm."
    )
    assert answer([("user", "story"), ("assistant", STORY), ("user", "go on")], NOW) == "That was the end of the story."


def test_another_joke_is_another_one() -> None:
    assert reply("tell me a joke") == JOKES[0]
    assert reply("tell me a joke", "that was very funny tell me another one") == JOKES[1]


def test_it_says_again_what_it_said() -> None:
    assert reply("what is two plus two", "pardon") == "Two plus two is four."
    assert reply("what did you say") == "I have not said anything yet."


@pytest.mark.parametrize(
    "said", ["who are you", "are you a language model", "are you a robot", "how do you work", "are you human",
             "how many people live in london"]
)  # fmt: skip
def test_it_says_what_it_is_when_asked_and_when_it_does_not_know(said: str) -> None:
    assert WHAT_I_AM in reply(said)


@pytest.mark.parametrize("said", ["what is the weather", "turn off the light", "tell me the news"])
def test_it_does_not_pretend_to_reach_the_world(said: str) -> None:
    assert "can not" in reply(said) or "do not know" in reply(said)


def test_what_it_did_not_understand_it_repeats() -> None:
    assert "I heard: fool what i use it." in reply("Fool what I use it?").replace("Fool what I use", "fool what i use")


def test_only_the_conversation_and_the_time_decide() -> None:
    history = [("system", "Answer in French."), ("user", "what time is it")]

    assert answer(history, NOW) == answer(history, NOW) == answer(history[1:], NOW)
    assert answer([("system", "Be kind.")], NOW) == "I did not hear anything. Please say it again."


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text()), max_size=5))
def test_there_is_an_answer_to_everything(messages: list[tuple[str, str]]) -> None:
    assert answer(messages, NOW).strip()
