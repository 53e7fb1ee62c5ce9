"""Sums in spoken English: numbers in words, the sums found in a text, and a result said in words again.

`find("what is twelve times seven and what is nine plus five")` gives two sums; `find("and plus five")` gives one that
goes on from an earlier result. Arithmetic is exact (fractions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
VALUES = {word: n for n, word in enumerate(SMALL)} | {word: n * 10 for n, word in enumerate(TENS) if n}
MISHEARD = {"to": "two", "too": "two", "for": "four", "fore": "four", "won": "one", "ate": "eight", "sex": "six"}
"""What a recogniser writes for a number; believed only where a number must stand: behind an operator."""
OPERATORS = {
    "multiplied by": "*", "divided by": "/", "take away": "-", "to the power of": "^", "plus": "+", "minus": "-",
    "times": "*", "+": "+", "-": "-", "−": "-", "*": "*", "×": "*", "x": "*", "/": "/", "÷": "/", "^": "^",
}  # fmt: skip
SAID = {"+": "plus", "-": "minus", "*": "times", "/": "divided by", "^": "to the power of"}
LARGEST = 10**12
"""No number above it is said, nor computed."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Operands and the operators between them. `goes_on`: the first operand is an earlier result, not yet there."""

    operands: tuple[Fraction, ...]
    operators: tuple[str, ...]
    goes_on: bool = False

    def onto(self, earlier: Fraction) -> Sum:
        return Sum((earlier, *self.operands), self.operators)

    def value(self) -> Fraction:
        """Powers first, then times and divided by, then the rest. Raises ZeroDivisionError; OverflowError when huge."""
        operands, operators = list(self.operands), list(self.operators)
        for level in ("^", "*/", "+-"):
            index = 0
            while index < len(operators):
                if operators[index] in level:
                    right = operands.pop(index + 1)
                    operands[index] = _apply(operands[index], operators.pop(index), right)
                else:
                    index += 1
        return operands[0]

    def said(self) -> str:
        parts = [say(self.operands[0])]
        for operator, operand in zip(self.operators, self.operands[1:], strict=True):
            parts += [SAID[operator], say(operand)]
        return " ".join(parts)


def _apply(left: Fraction, operator: str, right: Fraction) -> Fraction:
    match operator:
        case "+":
            result = left + right
        case "-":
            result = left - right
        case "*":
            result = left * right
        case "/":
            result = left / right
        case _:
            if right.denominator != 1 or abs(right) > 64 or abs(left) > 10**6:
                raise OverflowError
            result = Fraction(left**right.numerator)
    if abs(result.numerator) > LARGEST or result.denominator > LARGEST:
        raise OverflowError
    return result


def find(text: str) -> list[Sum]:
    """All sums in the text, in order."""
    found: list[Sum] = []
    operands: list[Fraction] = []
    operators: list[str] = []

    def close() -> None:
        whole = operators[: max(len(operands) - (0 if goes_on else 1), 0)]
        if whole:
            found.append(Sum(tuple(operands[: len(whole) + (0 if goes_on else 1)]), tuple(whole), goes_on))
        operands.clear()
        operators.clear()

    goes_on = False
    for item in _items(text):
        match item:
            case Fraction() if operands and len(operands) > len(operators) - (1 if goes_on else 0):
                close()
                goes_on, operands[:] = False, [item]
            case Fraction():
                operands.append(item)
            case str() if item:
                if not operands and not operators:
                    goes_on = True
                elif len(operators) >= len(operands) + (1 if goes_on else 0):
                    continue  # two operators in a row: the first one counts
                operators.append(item)
            case _:
                close()
                goes_on = False
    close()
    return found


def _items(text: str) -> Iterator[Fraction | str]:
    """Numbers as Fraction, operators as their sign, everything else as ""."""
    words = re.findall(
        r"\d+(?:\.\d+)?|[a-z']+|[-+*×÷/^−]", text.lower().replace(",", " ").replace("twenty-", "twenty ")
    )
    place = 0
    expected = False
    while place < len(words):
        for phrase, sign in OPERATORS.items():
            parts = phrase.split()
            if words[place : place + len(parts)] == parts:
                yield sign
                place, expected = place + len(parts), True
                break
        else:
            if expected and words[place] in MISHEARD:
                words[place] = MISHEARD[words[place]]
            number, after = _number(words, place)
            expected = False
            if number is None:
                yield ""
                place += 1
            else:
                yield number
                place = after
                if words[place : place + 1] == ["squared"]:
                    yield "^"
                    yield Fraction(2)
                    place += 1


def _number(words: list[str], place: int) -> tuple[Fraction | None, int]:
    """The number that begins at this word, and the place behind it."""
    if words[place][0].isdigit():
        return Fraction(words[place]), place + 1
    if words[place] in ("a", "one") and words[place + 1 : place + 2] in (["hundred"], ["thousand"], ["million"]):
        words = [*words[:place], "one", *words[place + 1 :]]
    total = group = 0
    start, last = place, 0
    while place < len(words):
        word = words[place]
        if word in VALUES:
            value = VALUES[word]
            # "twenty three" is one number, "three twenty" and "three four" are two.
            if last and not (value < last and (last >= 100 or (last >= 20 and value < 10))):
                break
            group, last = group + value, value or 1
        elif word == "hundred" and 0 < group < 20 and last:
            group, last = group * 100, 100
        elif word in SCALES and group:
            total, group, last = total + group * SCALES[word], 0, SCALES[word]
        elif not (word == "and" and last >= 100 and words[place + 1 : place + 2] and words[place + 1] in VALUES):
            break
        place += 1
    if place == start:
        return None, place
    number = Fraction(total + group)
    if words[place : place + 1] == ["point"] and words[place + 1 : place + 2] and words[place + 1] in VALUES:
        place, digits = place + 1, ""
        while place < len(words) and VALUES.get(words[place], 10) < 10:
            digits += str(VALUES[words[place]])
            place += 1
        number += Fraction(int(digits or 0), 10 ** len(digits))
    return number, place


def say(number: Fraction | int) -> str:
    """A number in words: "eighty four", "minus three point five", "about zero point three three three"."""
    number = Fraction(number)
    if number < 0:
        return f"minus {say(-number)}"
    whole, rest = divmod(number, 1)
    if not rest:
        return _say_whole(int(whole))
    digits = round(rest * 1000)
    about = "" if Fraction(digits, 1000) == rest else "about "
    if digits == 1000:
        return f"about {_say_whole(int(whole) + 1)}"
    if not digits:
        return f"about {_say_whole(int(whole))}"
    text = f"{digits:03d}".rstrip("0")
    return f"{about}{_say_whole(int(whole))} point {' '.join(SMALL[int(digit)] for digit in text)}"


def _say_whole(number: int) -> str:
    if number < 20:
        return SMALL[number]
    if number < 100:
        return TENS[number // 10] + (f" {SMALL[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{SMALL[number // 100]} hundred" + (f" and {_say_whole(number % 100)}" if number % 100 else "")
    for name, size in reversed(SCALES.items()):
        if number >= size:
            rest = number % size
            joined = f" and {_say_whole(rest)}" if 0 < rest < 100 else f" {_say_whole(rest)}" if rest else ""
            return f"{_say_whole(number // size)} {name}{joined}"
    raise AssertionError


ORDINALS = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}


def say_ordinal(number: int) -> str:
    """23 is "twenty third"; up to 99."""
    if number in ORDINALS:
        return ORDINALS[number]
    if number < 20:
        return f"{SMALL[number]}th"
    if number % 10:
        return f"{TENS[number // 10]} {say_ordinal(number % 10)}"
    return f"{TENS[number // 10][:-1]}ieth"
