from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BeforeValidator, field_validator, model_validator

from flowgraph import MS, Duration, Field, Frame, Node, ServiceName
from flowgraph.options import Wrong, default_text, describe, describe_field, wrong_options
from flowgraph.units import parse_size


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


Size = Annotated[int, BeforeValidator(parse_size)]


class Options(Node):
    url: str
    level: float = Field(0.5, ge=0, le=1)
    count: int = Field(3, gt=2, lt=9)
    pace: Duration = Field(20 * MS, ge=10 * MS)
    end: Literal["off"] | Duration = "off"
    limit: Duration | None = None
    buffer: Size = 1024
    quiet: bool = False
    words: list[str] = Field(default_factory=list)
    table: dict[str, int] = Field(default_factory=dict)
    service: ServiceName = "stt"
    voice: str = "x"
    even: int = Field(2, multiple_of=2)

    @field_validator("voice")
    @classmethod
    def _known(cls, voice: str) -> str:
        if voice == "y":
            raise ValueError("there is no voice y here")
        if voice == "crash":
            raise KeyError(voice)
        return voice

    @model_validator(mode="after")
    def _fit(self) -> Options:
        if self.count == 8 and self.quiet:
            raise ValueError("eight are never quiet")
        return self

    def process(self, frame: Frame) -> None:
        pass


def wrong(**options: Any) -> list[Wrong]:
    def found(loc: tuple[str | int, ...]) -> str:
        value: Any = options
        for part in loc:
            value = value[part]
        return str(value)

    return list(wrong_options(Options, {"url": "u"} | options, found))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "high"}, "expected a number between 0 and 1, found high"),
        ({"level": 2}, "expected a number between 0 and 1, found 2"),
        ({"count": 2}, "expected a whole number above 2 and below 9, found 2"),
        ({"count": 3.5}, "expected a whole number above 2 and below 9, found 3.5"),
        ({"count": True}, "expected a whole number above 2 and below 9, found True"),
        ({"pace": "1ms"}, "expected a duration of at least 10ms, found 1ms"),
        ({"end": "soon"}, "expected off or a duration such as 400ms, found soon"),
        ({"limit": "x"}, "expected a duration such as 400ms, found x"),
        ({"limit": f"{'9' * 400}ms"}, f"expected a duration such as 400ms, found {'9' * 400}ms"),
        ({"buffer": "many"}, "expected a size such as 64KiB, found many"),
        ({"quiet": "loud"}, "expected true or false, found loud"),
        ({"words": "one"}, "expected a list, each text, found one"),
        ({"words": ["one", 2]}, "expected text, found 2"),
        ({"table": {"a": "b"}}, "expected a whole number, found b"),
        ({"even": 3}, "expected a whole number that divides by 2, found 3"),
        ({"voice": "y"}, "there is no voice y here"),
        ({"voice": None}, "expected text, found None"),
    ],
)
def test_a_wrong_value_is_told_in_our_words(options: dict[str, Any], message: str) -> None:
    assert [problem.message for problem in wrong(**options)] == [message]
    assert next(iter(options)) == wrong(**options)[0].loc[0]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"pace": 20}, "write its unit: pace: 20ms"),
        ({"end": 20}, "write its unit: end: 20ms"),
        ({"buffer": 20}, "write its unit: buffer: 20KiB"),
        ({"voice": 7}, 'put it in quotes: voice: "7"'),
        ({"paces": "20ms"}, "did you mean 'pace'?"),
    ],
)
def test_a_frequent_mistake_is_told_how_to_mend_it(options: dict[str, Any], hint: str) -> None:
    assert [problem.hint for problem in wrong(**options)] == [hint]


def test_all_mistakes_are_told_at_once() -> None:
    class Needy(Options):
        other: int

    found = list(wrong_options(Needy, {"level": 2, "count": 1, "lvel": 3}, lambda _: "it"))

    assert sorted(problem.message for problem in found) == [
        "expected a number between 0 and 1, found it",
        "expected a whole number above 2 and below 9, found it",
        "the option 'other' is missing",
        "the option 'url' is missing",
        "there is no option 'lvel'",
    ]


def test_a_mistake_of_the_whole_is_told_of_the_node() -> None:
    assert wrong(count=8, quiet=True) == [Wrong((), True, "eight are never quiet")]


def test_a_validator_that_crashes_is_told_as_such() -> None:
    assert wrong(voice="crash") == [Wrong((), True, "its options can't be checked: KeyError: 'crash'")]


def test_right_options_have_nothing_wrong() -> None:
    assert wrong(level=0, count=3, pace="10ms", end="off", limit=None, quiet="off", words=["a"], even=4) == []


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Colour, "red or blue"), (Path, "a file name"), (tuple[int, ...], "a list, each a whole number"), (list, "a list"),
        (Literal[True, 3, "x"], "true, 3 or x"), (ServiceName, "the name of a service"), (bytes, "another kind of value"),
        (Annotated[str, Field(min_length=1)], "text that isn't empty"), (Duration, "a duration such as 400ms"),
        (Annotated[str, Field(pattern="^a$")], "text that matches ^a$"),
    ],
)  # fmt: skip
def test_what_an_option_takes_is_told_in_words(annotation: Any, words: str) -> None:
    class One(Node):
        option: annotation

        def process(self, frame: Frame) -> None:
            pass

    assert describe_field(One.model_fields["option"]) == words


def test_an_annotation_alone_can_be_told() -> None:
    assert describe(Duration | Literal["off"]) == "a duration such as 400ms or off"


def test_defaults_are_told_as_a_file_would_state_them() -> None:
    told = {name: default_text(field) for name, field in Options.model_fields.items()}

    assert told["pace"] == "20ms"
    assert told["url"] == ""
    assert told["quiet"] == "false"
    assert told["limit"] == "null"
    assert told["level"] == "0.5"
