"""What the embedded responder says: rules over the words of the conversation, nothing learned.

`answer` is a pure function of the messages and the time. Every rule reads text as a recogniser writes it: lower case, no
punctuation, numbers in words, now and then a wrong word. Answers are made to be spoken: short sentences, a short first
clause, numbers in words. What no rule knows is said to be unknown.

A rule takes the `Turn` and returns an answer or None; the first answer of `RULES` counts. What a rule has to remember
it reads from the earlier user messages each time, so there is no state to lose.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from fractions import Fraction

from nodes.servers import sums
from nodes.servers.sums import say, say_ordinal

WHAT_I_AM = "I'm a small program with a few rules, not a language model."
WHAT_I_CAN = "Ask me what day it is, what nine times seven is, or ask me for a long story."

STORY = (
    "Once upon a time, there was an old house by the sea. "
    "A very old man lived in the house, and nobody knew his name. "
    "One winter night there was a terrible storm. "
    "He looked out of the window, and far away he saw a light. "
    "Somebody was out there in the storm, and did not know where to go. "
    "Suddenly the old radio began to speak. "
    "We cannot see anything, said the voice, please keep talking. "
    "So the old man kept talking. "
    "He talked for one hour, and then for two hours, and they followed his voice. "
    "In the morning the storm was over, and the sun was shining on the water. "
    "Seven people were standing outside, and all of them were smiling. "
    "You saved us with your voice, said one of them, and we will never forget it. "
    "From that day on the old man was never alone again. "
    "That is the end of the story."
)

JOKES = (
    "Why did the computer go to the doctor? Because it had a virus.",
    "What do you call a bear with no teeth? A gummy bear.",
    "Why can you not trust the stairs? Because they are always up to something.",
    "I told my computer that I needed a break. Now it will not stop sending me holidays.",
)

CAPITALS = {
    "france": "Paris", "germany": "Berlin", "italy": "Rome", "spain": "Madrid", "england": "London", "japan": "Tokyo",
    "austria": "Vienna", "poland": "Warsaw", "russia": "Moscow", "china": "Beijing", "canada": "Ottawa",
    "sweden": "Stockholm", "norway": "Oslo", "greece": "Athens", "egypt": "Cairo", "portugal": "Lisbon",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What there is to answer."""

    text: str
    """The last user message: lower case, words and digits only, single spaces."""
    raw: str
    """The same as it came."""
    earlier: tuple[str, ...]
    """The user messages before it, cleaned the same way, oldest first."""
    said: tuple[str, ...]
    """The assistant's messages as they were heard, oldest first."""
    now: datetime

    def has(self, pattern: str) -> bool:
        return re.search(rf"\b(?:{pattern})\b", self.text) is not None

    def is_only(self, pattern: str) -> bool:
        return re.fullmatch(rf"(?:{pattern})(?: please)?", self.text) is not None


def answer(messages: Sequence[tuple[str, str]], now: datetime) -> str:
    """The answer to the last user message of [(role, text), …]; system messages are not understood, so not followed."""
    users = [text for role, text in messages if role == "user"]
    said = tuple(text for role, text in messages if role == "assistant")
    raw = users[-1].strip() if users else ""
    turn = Turn(clean(raw), raw, tuple(clean(text) for text in users[:-1]), said, now)
    greeting = re.match(GREETING + r" (?=\S)", turn.text)
    if greeting and not re.match(r"(?:how are|there$|again$|everybody$)", turn.text[greeting.end() :]):
        rest = Turn(turn.text[greeting.end() :], turn.raw, turn.earlier, turn.said, now)
        return f"Hello. {_first(rest)}"
    return _first(turn)


def _first(turn: Turn) -> str:
    return next(found for rule in RULES if (found := rule(turn)))


def clean(text: str) -> str:
    """Words and digits in lower case; the signs of a sum survive, since people also type."""
    text = re.sub(r"[’`]", "'", text.lower())
    text = re.sub(r"(?<=\d)\s*([-+*/×÷^])\s*(?=\d)", r" \1 ", text)
    return " ".join(re.findall(r"[^\W_]+(?:[.'][^\W_]+)*|(?<= )[-+*/×÷^](?= )", text))


STOP = (
    r"(?:no |okay |ok |please )?(stop|that is enough|that's enough|enough|never mind|be quiet|cancel|wait|hold on)\b"
    r"(?: (?:it|that is enough|that|there|now|please|a moment|talking|and))* ?"
)

# --- Rules, in the order in which they are asked ----------------------------------------------------------------------

GREETING = r"(?:hello|hi|hey|good (?:morning|afternoon|evening))(?: there)?"


def nothing(turn: Turn) -> str | None:
    return None if turn.text else "I did not hear anything. Please say it again."


def enough(turn: Turn) -> str | None:
    """Stops: alone, or with what to talk about instead."""
    found = re.match(STOP, turn.text)
    if not found:
        return None
    rest = turn.text[found.end() :]
    if re.match(r"(?:tell|what|who|how|do|can|could|when|where|which|is|are|count|my|i) ", rest):
        return _first(dataclasses.replace(turn, text=rest))
    return None if rest and found[1] == "wait" else "All right, I will be quiet."


def again(turn: Turn) -> str | None:
    if not turn.has(r"say (?:it|that) again|repeat (?:it|that)|what did you say|could not hear|pardon|come again"):
        return None
    return turn.said[-1] if turn.said else "I have not said anything yet."


def go_on(turn: Turn) -> str | None:
    """Goes on with the sentence in which the story was cut off: the history holds what was heard of it."""
    if not turn.has(r"go on|continue|keep going|carry on|what happened (?:then|next)|and then"):
        return None
    place = next((place for said in reversed(turn.said) if (place := _end_in_story(said)) is not None), None)
    if place is None:
        return None
    sentence = STORY.rfind(". ", 0, place) + 1 if not STORY[:place].endswith((".", "?")) else place
    rest = STORY[sentence:].strip()
    return f"All right. {rest}" if rest else "That was the end of the story."


def _end_in_story(said: str) -> int | None:
    words = said.split()
    for length in range(min(len(words), 8), 2, -1):
        place = STORY.find(" ".join(words[-length:]))
        if place >= 0:
            return place + len(" ".join(words[-length:]))
    return None


def told_name(turn: Turn) -> str | None:
    name = _name_in(turn.text)
    if not name:
        return None
    mine = " I have no name, I'm only a small program." if turn.has(r"your name|who are you") else ""
    return f"Nice to meet you, {name}.{mine}"


def _name_in(text: str) -> str | None:
    found = re.search(
        r"\b(?:my name is|my name's|call me|i am called)(?: not)? (?!what\b|that\b|you\b|when\b)([a-z]+)", text
    )
    return found[1].capitalize() if found and " not " not in found[0] else None


def users_name(turn: Turn) -> str | None:
    if not turn.has(r"(?:what is|what's|remember|know|say|tell me|what was) my name|who am i"):
        return None
    name = next((name for text in reversed(turn.earlier) if (name := _name_in(text))), None)
    return f"Your name is {name}." if name else "You have not told me your name yet."


def arithmetic(turn: Turn) -> str | None:
    found = sums.find(turn.text)
    if not found:
        return None
    earlier = _last_result(turn.earlier)
    answers: list[str] = []
    for one in found:
        if one.goes_on and earlier is None:
            if not answers:
                return f"I have no result to go on with. {WHAT_I_CAN}"
            break
        whole = one.onto(earlier) if one.goes_on and earlier is not None else one
        try:
            earlier = whole.value()
        except ZeroDivisionError:
            return "Nobody can divide by zero."
        except OverflowError:
            return "That number is too large for me."
        answers.append(f"{whole.said()} is {say(earlier)}")
    text = ", and ".join(answers)
    return f"{text[0].upper()}{text[1:]}."


def _last_result(earlier: Sequence[str]) -> Fraction | None:
    result: Fraction | None = None
    for text in earlier:
        for one in sums.find(text):
            try:
                if not one.goes_on:
                    result = one.value()
                elif result is not None:
                    result = one.onto(result).value()
            except ArithmeticError:
                result = None
    return result


def count(turn: Turn) -> str | None:
    found = re.search(r"\bcount (?:from one )?(?:up )?to (.+)", turn.text)
    if not found:
        return None
    number, _ = sums._number(found[1].split(), 0)
    if number is None or not 1 <= number <= 100:
        return "I only count up to one hundred."
    return ", ".join(say(n) for n in range(1, int(number) + 1)).capitalize() + "."


def clock(turn: Turn) -> str | None:
    asked = (
        r"what(?:'s| is| are| was)?(?: the| it)? time|(?:tell|give) me the time|have the time|how late is it|time is it"
    )
    if not turn.has(asked):
        return None
    if turn.has(r"time (?:is it |it is )?in (?!the (?:morning|afternoon|evening))\w+"):
        return f"I only know the time here. {_time(turn.now)}"
    return _time(turn.now)


def _time(now: datetime) -> str:
    part = "in the morning" if now.hour < 12 else "in the afternoon" if now.hour < 18 else "in the evening"
    hour = say(now.hour % 12 or 12)
    if now.minute == 0:
        return f"It is {hour} o'clock {part}."
    minutes = f"{say(now.minute)} minute{'s' if now.minute > 1 else ''}"
    return f"It is {minutes} past {hour} {part}."


def date(turn: Turn) -> str | None:
    if turn.has(r"(?:what|which) year"):
        return f"It is the year {_year(turn.now.year)}."
    if turn.has(r"(?:what|which) month"):
        return f"It is {turn.now:%B}."
    if not turn.has(
        r"what(?:'s| is)?(?: the| today's)? (?:day|date)|(?:what|which) (?:day|date)|today's date|the date"
    ):
        return None
    for word, days in (("tomorrow", 1), ("yesterday", -1)):
        if turn.has(word):
            return f"{word.capitalize()} {'is' if days > 0 else 'was'} {_day(turn.now + timedelta(days=days))}."
    return f"Today is {_day(turn.now)}."


def _day(day: datetime) -> str:
    return f"{day:%A}, the {say_ordinal(day.day)} of {day:%B}"


def _year(year: int) -> str:
    if year % 1000 < 10:
        return say(year)
    high, low = divmod(year, 100)
    if not low:
        return f"{say(high)} hundred"
    return f"{say(high)} {'oh ' if low < 10 else ''}{say(low)}"


def story(turn: Turn) -> str | None:
    return STORY if turn.has(r"(?:story|stories|fairy tale|tale)") else None


def joke(turn: Turn) -> str | None:
    asked = r"joke|jokes|make me laugh|something funny"
    told = sum(re.search(rf"\b(?:{asked}|another one)\b", text) is not None for text in turn.earlier)
    if turn.has(asked) or (told and turn.has("another one|one more")):
        return JOKES[told % len(JOKES)]
    return None


def itself(turn: Turn) -> str | None:
    if turn.has(r"what can you do|help me|can you help|what do you know|what else can you"):
        return f"I can do a few things. {WHAT_I_CAN}"
    if turn.has(r"how do you work|how are you made|who made you|how were you made"):
        return f"I am a few hundred lines of Python. {WHAT_I_AM} Each answer comes from a rule that somebody wrote."
    if turn.has(r"how old are you|where do you live|where are you"):
        return f"I live in this computer, and I am as old as its last start. {WHAT_I_AM}"
    if turn.has(
        r"(?:are|is) (?:you|this) (?:a |an )?(?:real |large |big )?(?:ai|a i|language model|robot|bot|human|person|machine|computer|chatbot|model|gpt|program|real)"
    ):
        return (
            f"No. {WHAT_I_AM}" if turn.has("human|person|language model|model|ai|a i|gpt|real") else f"Yes. {WHAT_I_AM}"
        )
    if turn.has(r"who are you|who you are|what are you|what you are|your name|yourself|about you|introduce"):
        return f"I have no name. {WHAT_I_AM} {WHAT_I_CAN}"
    return None


def capital(turn: Turn) -> str | None:
    if not turn.has("capital"):
        return None
    for country, city in CAPITALS.items():
        if turn.has(country):
            return f"The capital of {country.capitalize()} is {city}."
    return "I only know the capitals of a few countries, and that is not one of them."


def outside(turn: Turn) -> str | None:
    """Things that need the world outside."""
    if turn.has(r"weather|rain|sunny|temperature|forecast"):
        return "I can not see the weather from here. I have no window, and no network."
    if turn.has(r"news|football|stock|score"):
        return "I do not know the news. I have no network."
    if turn.has(
        r"turn (?:on|off)|(?:open|close) the|play (?:some |a |the )?(?:music|song)|set (?:a |an |the )?(?:timer|alarm)|remind me"
    ):
        return "I can not do that. I can only talk."
    return None


def small_talk(turn: Turn) -> str | None:
    if turn.has(r"how are you|how do you do|how is it going|how's it going|how are things"):
        return "I'm fine, thank you. How can I help you?"
    if turn.has(r"thank you|thanks|thank"):
        bye = turn.has(r"goodbye|good bye|bye|see you|good night")
        return "You're welcome. Have a nice day." if bye else "You're welcome."
    if turn.has(r"goodbye|good bye|bye|see you|good night"):
        return "Goodbye! It was nice to talk to you."
    if turn.is_only(GREETING + "(?: .{1,20})?"):
        return "Hello! What can I do for you?"
    if turn.has(r"are you (?:still )?there|can you hear me|do you hear me"):
        return "Yes, I can hear you."
    if turn.is_only(
        r"(?:i am|i'm) (?:fine|good|well|okay|great|happy)(?: .*)?|(?:that was |very |how )*(?:funny|nice|good|great|cool|wonderful|lovely)"
    ):
        return "I'm glad to hear that."
    if turn.has(r"(?:i am|i'm|feel) (?:sad|tired|ill|sick|bored|lonely|angry)"):
        return "I am sorry to hear that. A story may help: just ask me for one."
    if turn.has(r"sorry|excuse me"):
        return "No problem."
    if turn.is_only(r"(?:yes|yeah|yep|sure|okay|ok|right|all right|good|fine)"):
        return "Good. What would you like to know?"
    if turn.is_only(r"(?:no|nope|not really|nothing)(?: thanks| thank you)?"):
        return "All right. Tell me when you need something."
    return None


def unknown(turn: Turn) -> str:
    heard = " ".join(turn.raw.split()[:12])
    return f"I have no answer to that. I heard: {heard.rstrip('.?!,')}. {WHAT_I_AM} {WHAT_I_CAN}"


RULES: tuple[Callable[[Turn], str | None], ...] = (
    nothing, again, go_on, enough, told_name, users_name, arithmetic, count, clock, date, story, joke, itself, capital,
    outside, small_talk, unknown,
)  # fmt: skip
