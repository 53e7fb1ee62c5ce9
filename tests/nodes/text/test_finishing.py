from __future__ import annotations

import pytest

from nodes.text.finishing import asked, finish
from nodes.text.lexicon import FAREWELLS

QUESTIONS = {
    "nothing": "", "open": "What do you want?", "yes_no": "Is it so?", "number": "What is your telephone number?", "code": "What is the code?",
}  # fmt: skip
QUESTIONS_AND_REQUESTS = (
    "what time is it", "do you know what time it is", "tell me a story", "could you please tell me the date of today",
    "who is it for", "where are you from", "turn the light on", "Thank you.", "no thanks", "goodbye",
    "what is nine times seven", "Can you hear me?", "what are you looking at", "I have a meeting can you wake me up",
    "can I have that please", "what time is it please", "yes it is", "do you know where the station is", "please set a timer", "how old are you", "I don't know.",
)  # fmt: skip
LISTS_AND_INTRODUCTIONS = (
    "I need milk eggs and two loaves of bread", "the colors are red green yellow and blue", "we have cats dogs and a parrot",
    "good morning my name is David", "hi this is Mary speaking", "that is enough tell me the date of today",
    "I lost my key. Show me where the station is.",
)  # fmt: skip
SHORT_ANSWERS = (
    "tuesday",
    "perfect",
    "the red one",
    "I said so",
    "no thank you",
    "very good",
    "Ist das so?",
    "good",
    "bye",
    "say no",
)
"""To an open question."""


@pytest.mark.parametrize("text", QUESTIONS_AND_REQUESTS)
def test_questions_requests_and_closings_are_finished(text: str) -> None:
    assert finish(text) == "finished"


@pytest.mark.parametrize("text", LISTS_AND_INTRODUCTIONS)
def test_closed_lists_introductions_and_requests_behind_another_sentence_are_finished(text: str) -> None:
    assert finish(text) == "finished"


@pytest.mark.parametrize(
    "text",
    [
        "that was very kind of you, thank you and goodbye", "That was very kind of you. Thank you and goodbye.", "okay thanks bye",
        "that's all for today goodbye", "that was very kind of you thank you", "I paid on Monday, thanks a lot!", "bye-bye",
        "I have seen everything goodbye", "well goodbye", "um thank you", "I don't need it but thank you", "that's all for now thank you",
        "five five five oh one four seven thanks", "see you tomorrow", "Thank you very much. Have a nice day!", "GOOD NIGHT", "okay bye  now",
    ],
)  # fmt: skip
def test_a_farewell_or_thanks_behind_what_could_be_the_end_is_finished(text: str) -> None:
    assert finish(text) == "finished"


@pytest.mark.parametrize(
    "text",
    [
        "I want to say goodbye", "I want to say thank you and goodbye", "she told me goodbye", "I want to thank you", "we thank you",
        "it was a good night", "tell me thank you", "I would like goodbye", "five five five thank you", "I will see you tomorrow",
    ],
)  # fmt: skip
def test_a_farewell_that_is_told_of_or_behind_what_cannot_be_the_end_proves_nothing(text: str) -> None:
    assert finish(text) == "unclear"


@pytest.mark.parametrize(
    "text",
    ["thank you for", "thanks but", "that was nice, thank you,", "that was nice, thank you …", "okay thanks and"],
)
def test_what_goes_on_behind_its_thanks_is_unfinished(text: str) -> None:
    assert finish(text) == "unfinished"


@pytest.mark.parametrize("question", [QUESTIONS["nothing"], QUESTIONS["open"]])
@pytest.mark.parametrize("farewell", sorted(FAREWELLS))
def test_a_farewell_behind_anything_that_is_finished_keeps_it_finished(farewell: str, question: str) -> None:
    whole = QUESTIONS_AND_REQUESTS + LISTS_AND_INTRODUCTIONS + (SHORT_ANSWERS if question else ())
    for text in whole:
        assert finish(text, question) == "finished", text
        for between in (" ", ", ", ". ", " and ", " … ", " thank you ", " um, bye "):
            assert finish(text + between + farewell, question) == "finished", text + between + farewell


def test_no_farewell_ends_with_another() -> None:
    assert not [one for one in FAREWELLS for other in FAREWELLS if one.endswith(" " + other)]


@pytest.mark.parametrize("text", ["hello", "Good evening.", "hi there", "stop", "Stop it!", "that's enough"])
def test_what_is_often_only_the_beginning_is_unclear(text: str) -> None:
    assert finish(text) == "unclear"


@pytest.mark.parametrize(
    "text", ["I need milk eggs butter", "the colors are red green yellow", "we have cats dogs and"]
)
def test_a_list_without_its_last_item_is_unfinished(text: str) -> None:
    assert finish(text) == "unfinished"


@pytest.mark.parametrize(
    "text",
    [
        "I like orange juice",
        "he is coming home tonight",
        "I said he will tell me the truth",
        "my brother and my sister have cats",
    ],
)
def test_what_only_looks_like_a_list_or_a_request_stays_unclear(text: str) -> None:
    assert finish(text) == "unclear"


@pytest.mark.parametrize(
    "text",
    [
        "could you please tell me", "I was thinking about", "we went to", "out", "what is", "I want", "my name is", "tell me the", "set a timer for", "milk and",
        "I would like to", "um", "what is the um", "well", "let me think", "show me your", "I need to know if", "because",
        "I was thinking,", "and then …", "call my", "could you please", "Would you please.", "can you also", "may I please", "what is nine times seven and", "I'm", "the weather in",
    ],
)  # fmt: skip
def test_what_cannot_end_an_utterance_is_unfinished(text: str) -> None:
    assert finish(text) == "unfinished"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I would like a table",
        "I paid on Monday",
        "tomorrow evening",
        "yes I believe so",
        "nice isn't it",
        "on Friday in May",
    ],
)
def test_statements_are_unclear(text: str) -> None:
    assert finish(text) == "unclear"


def test_a_full_stop_proves_nothing_and_other_marks_do() -> None:
    assert finish("Could you please tell me.") == "unfinished"
    assert finish("I paid on Monday.") == "unclear"
    assert finish("Ist das so?") == "finished"
    assert finish("Das ist so,") == "unfinished"


@pytest.mark.parametrize(
    "text",
    [
        "how far is it to the nearest", "show me the cheapest", "my friends call me", "I was born on the twelfth of March nineteen",
        "it was built in nineteen", "the bill that you sent me in", "I am", "I don't", "show me the um nearest",
    ],
)  # fmt: skip
def test_a_modifier_a_name_a_year_or_a_verb_is_missing(text: str) -> None:
    assert finish(text) == "unfinished"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("which one is the nearest", "finished"), ("this one was the best", "unclear"), ("please let me in", "unclear"), ("I like sports cars", "unclear"),
        ("the street is um well I think it is um Park Street", "unclear"), ("stop I have another question", "unclear"),
        ("stop the music", "finished"), ("you are entering conference number", "unclear"), ("he logged off", "unclear"), ("I woke up", "unclear"),
        ("could you turn the light on", "finished"), ("could you turn the light off", "finished"), ("thank you is the station open", "finished"),
        ("you have five new messages", "unclear"), ("put the kettle on please", "finished"), ("I was born in 1984", "unclear"), ("it costs 350", "unclear"), ("it takes nineteen", "unclear"),
    ],
)  # fmt: skip
def test_what_only_looks_like_that_is_not(text: str, whole: str) -> None:
    assert finish(text) == whole


@pytest.mark.parametrize("text", ["I do", "I am.", "I don't"])
def test_an_ellipsis_is_finished_where_yes_or_no_was_asked(text: str) -> None:
    assert finish(text, QUESTIONS["yes_no"]) == "finished"
    assert finish(text, QUESTIONS["open"]) == finish(text) == "unfinished"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("I was born on the third of May nineteen eighty four", "finished"), ("it was in March 1984", "finished"),
        ("July fourth nineteen eighty five it was July fourth nineteen eighty five", "finished"), ("I was born on July 4 1985", "finished"),
        ("I was born on July twenty one", "unclear"), ("the meeting is on may twenty one", "unclear"),
    ],
)  # fmt: skip
def test_a_date_in_full_is_finished_as_an_answer(text: str, whole: str) -> None:
    assert finish(text, QUESTIONS["open"]) == whole
    assert finish(text) == "unclear"


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("set an alarm for 7:30", "finished"), ("wake me up at 7:30", "unclear"), ("the price is 19.99", "unclear"), ("10,000", "unclear"),
        ("what is 12000 plus 34500", "finished"), ("call nine one one", "unclear"), ("my phone number is 555-0147", "unclear"),
        ("remind me to", "unfinished"), ("tell me about", "unfinished"), ("turn on", "unfinished"), ("can you turn off", "unfinished"),
        ("can you remind me to", "unfinished"), ("could you find me", "unclear"), ("turn it off", "finished"), ("can you hear me", "finished"),
        ("what do you want", "finished"), ("that's all I need", "unclear"), ("do you have any", "unclear"), ("give me another", "unclear"),
        ("what can you do", "finished"), ("let's do it", "unclear"), ("me too", "finished"), ("where are we", "finished"), ("who is she", "finished"),
        ("the light is on", "unclear"), ("is the oven on", "finished"), ("volume up", "unclear"), ("what's up", "unclear"), ("log in", "unclear"),
        ("I like Disney's movies", "unclear"), ("my name is John Fitzgerald Kennedy", "finished"), ("my name is John and we", "unfinished"), ("is dinner ready yet", "finished"),
        ("text mom goodbye", "unclear"), ("play thank you", "finished"), ("the movie is called goodbye", "unclear"),
    ],
)  # fmt: skip
def test_what_people_say_to_an_assistant(text: str, whole: str) -> None:
    assert finish(text) == whole


def test_a_year_may_go_on_behind_its_tens() -> None:
    assert finish("I was born on the third of May nineteen eighty", QUESTIONS["open"]) == "unclear"


def test_a_number_that_is_dictated_is_never_finished_by_its_words() -> None:
    assert finish("five five five", QUESTIONS["number"]) == finish("five five five") == "unfinished"
    assert finish("seven", QUESTIONS["number"]) == "unfinished"
    assert finish("what is nine times seven", QUESTIONS["nothing"]) == "finished"


def test_digits_may_be_the_end_when_they_are_a_whole_telephone_number() -> None:
    assert finish("five five five oh one four") == "unfinished"
    assert finish("five five five oh one four seven") == "unclear"
    assert finish("call 5550147") == "unclear"


def test_a_short_answer_to_a_question_is_finished() -> None:
    assert finish("tuesday", QUESTIONS["open"]) == finish("perfect", QUESTIONS["yes_no"]) == "finished"
    assert finish("tuesday", QUESTIONS["nothing"]) == "unclear"
    assert finish("on the", QUESTIONS["open"]) == "unfinished"


def test_yes_and_no_are_finished_where_they_were_asked_for() -> None:
    assert (
        finish("yes", QUESTIONS["yes_no"])
        == finish("No.", QUESTIONS["yes_no"])
        == finish("yeah sure", QUESTIONS["yes_no"])
        == "finished"
    )
    assert finish("yes but", QUESTIONS["yes_no"]) == "unfinished"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("", "nothing"), ("It is noon.", "nothing"), ("Shall I tell you a story?", "yes_no"),
        ("All right. And do you want to hear more?", "yes_no"), ("Would you like tea or coffee?", "open"),
        ("What is your phone number?", "number"), ("And the code of your door?", "code"), ("Is that the right number?", "yes_no"), ("Could I have your phone number?", "number"),
        ("How many digits does it have?", "open"), ("What is your house number?", "open"), ("How many people?", "open"), ("What can I do for you?", "open"),
        ("What is your number? I will write it down.", "nothing"),
    ],
)  # fmt: skip
def test_the_last_sentence_tells_what_was_asked(said: str, kind: str) -> None:
    assert asked(said) == kind
