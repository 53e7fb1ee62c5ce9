"""Does what was said so far sound finished, judged by its words alone? And what had been asked?

1. Recognisers write words without trustworthy marks: many put a full stop behind every piece they are asked to finalise. So a
   full stop proves nothing; a question mark does, and so does an ellipsis, a dash or a comma that trails.
2. What can't end an English utterance (an article, "and", "my", "I want") is unfinished, and so is a list without its last "and". Questions,
   requests that have their object, closed lists and introductions are finished, and so is a short answer to a question, or a date in full.
   Statements are unclear: "I would like a table"
   may go on with "for four". A greeting, or "stop", is often only the beginning, and neither waits for an answer: unclear, too.
3. A farewell or thanks behind words that could be the end is the end: "that was very kind of you, thank you and goodbye".
4. Digits that are being dictated are unfinished until there may be as many as it takes (`nodes/text/dictation.py`).
5. Other languages have their marks only, but for words that are spelled like English ones.

The rules are those of descriptive grammar (Quirk et al., A Comprehensive Grammar of the English Language, on determiners,
inversion and stranded prepositions); nothing is learned.
"""

from __future__ import annotations

import re
from typing import Literal

from nodes.text.dictation import dictated
from nodes.text.lexicon import (
    ADJECTIVES,
    ADVERBIAL,
    ADVERBS,
    ANSWERS,
    AUXILIARIES,
    BE,
    BEGINNINGS,
    CENTURIES,
    CLOSED,
    COURTESY,
    DETERMINERS,
    ELLIPSES,
    FAREWELLS,
    FILLERS,
    LEAD_INS,
    LET_IN,
    LINKS,
    LISTED_BEHIND,
    MONTH_BEGINS,
    MONTHS,
    MOVABLE,
    NEED_OBJECT,
    NEEDED,
    NUMBERS,
    OPENINGS,
    OPENS,
    PARTICLES,
    PHRASAL,
    POLITE,
    PRONOMINAL,
    QUESTION_WORDS,
    RECIPIENTS,
    REQUESTS,
    STRANDED,
    STRANDERS,
    SUBJECTS,
    SUPERLATIVES,
    TEENS,
    TENS,
    TOLD,
    TURNED,
    TWO_OBJECTS,
)

Finish = Literal["finished", "unclear", "unfinished"]
Asked = Literal["nothing", "open", "yes_no", "number", "code"]

_WORD = re.compile(r"\d+(?:[.,:/]\d+)+|[^\W_]+(?:['’][^\W_]+)*")
"""A number with its marks is one: 7:30, 19.99."""

SHORTEST_LIST = 3
"""So many nouns in a row, without an "and", are a list that goes on; two may be one thing ("orange juice")."""
SHORT_ANSWER = 3
"""Words."""
LONGEST_LEAVE = 8
"""So many farewells, and words between them, are looked behind."""
_NOT_BEFORE_REQUESTS = SUBJECTS | AUXILIARIES | OPENS | PARTICLES | ADVERBS
"""Behind these a verb is no request: "I tell me", "he will tell me"."""
_NO_ITEMS = (
    OPENS | ADJECTIVES | ADVERBS | PARTICLES | AUXILIARIES | SUBJECTS | LINKS | QUESTION_WORDS | REQUESTS | RECIPIENTS
    | COURTESY | ANSWERS | NUMBERS | BEGINNINGS
)  # fmt: skip
_TRAILS = re.compile(r"(?:…|\.\.\.|[,;:]|\s[-–—]|—)\s*$")
_THINKING = re.compile(
    r"\b(?:you know|i mean|let me see|let me think|let me|let us|hold on|what was it|how do you say)$"
)
_NAMES = re.compile(
    r"\b(?:my name is|my name's|people call me|friends call me|i am called) \w+(?: (?!(?:and|but|i)\b)\w+){0,2}$|\bthis is \w+(?: \w+)? speaking$"
)
_FAREWELL = re.compile(rf"\b(?:{'|'.join(sorted(FAREWELLS))})[.!]?\s*$".replace(" ", r"\s+"), re.IGNORECASE)
_LEADS_IN = re.compile(rf"\b(?:{'|'.join(sorted(LEAD_INS | FILLERS))})$", re.IGNORECASE)
_MARKS = " \t\n.,;:!…–—-"
"""All but the question mark, which tells something."""
_CALLED = re.compile(r"\b(?:people call me|friends call me|i am called|i'm called)$")
_NUMBER = re.compile(r"\b(?:number|digits)\b")
_FEW_DIGITS = re.compile(r"\b(?:which|how many|house|room|flat|apartment|seat|gate|platform|floor|page)\b")
"""Where these are asked for, a number has a digit or three."""
_CODE = re.compile(r"\b(?:code|pin|password)\b")
_DATE = re.compile(
    rf"\b(?:{'|'.join(sorted(MONTHS))})(?: \w+){{0,2}} (?:\d{{4}}|(?:{'|'.join(sorted(CENTURIES))}) "
    rf"(?:(?:{'|'.join(sorted(TENS))}) \w+|{'|'.join(sorted(TEENS))}))$"
)


def finish(text: str, question: str = "") -> Finish:
    """How finished `text`, all that the user said in this turn, sounds behind the assistant's words `question`."""
    return "finished" if _takes_leave(text, question) else _sounds(text, question)


def _sounds(text: str, question: str) -> Finish:
    """The same without regard to a farewell at its end."""
    text = text.strip()
    words = words_of(text)
    if not words:
        return "unclear"
    joined, wanted = " ".join(words), asked(question)
    if text.endswith("?") or joined in CLOSED or (joined in ELLIPSES and wanted == "yes_no"):
        return "finished"
    if joined in OPENINGS:
        return "unclear"
    if _TRAILS.search(text):
        return "unfinished"
    if words[-1] in PRONOMINAL and len(words) > 2:
        return "unclear"
    if _dangles(words):
        return "unfinished"
    words = [word for word in words if word not in FILLERS]
    if _dangles(words) or _lists(words):
        return "unfinished"
    match dictated(words, " ".join(words_of(question)), wanted if wanted in ("number", "code") else ""):
        case "part":
            return "unfinished"
        case "perhaps":
            return "unclear"
        case "all":
            return "finished"
    if wanted in ("yes_no", "open") and (len(words) <= SHORT_ANSWER or _DATE.search(" ".join(words))):
        return "finished"
    whole = _asks(words) or _requests(words) or _closes_list(words) or _introduces(words)
    return "finished" if whole else "unclear"


def asked(text: str) -> Asked:
    """What kind of answer the assistant's words `text` ask for, by their last sentence."""
    text = text.strip()
    if not text.endswith("?"):
        return "nothing"
    sentence = re.split(r"(?<=[.!?…])\s+", text)[-1]
    words = words_of(sentence)
    joined = " ".join(words)
    first = next((word for word in words if word not in LEAD_INS), "")
    # "Could you tell me the code?" asks for it, "is that the code?" doesn't.
    dictate = first not in AUXILIARIES - POLITE and not _FEW_DIGITS.search(joined)
    if dictate and _CODE.search(joined):
        return "code"
    if dictate and _NUMBER.search(joined):
        return "number"
    return "yes_no" if first in AUXILIARIES and " or " not in joined else "open"


def words_of(text: str) -> list[str]:
    """Its words in lower case, without marks."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


# -- what can't be the end ---------------------------------------------------------------------------------------------


def _dangles(words: list[str]) -> bool:
    """Does its last word need another behind it?"""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in FILLERS or _THINKING.search(" ".join(words)) or _CALLED.search(" ".join(words)):
        return True
    if last in BEGINNINGS and (not before or before in FILLERS or before in OPENS):
        return True
    if last in STRANDED and _strands(words):
        return False
    if _asks_where(words) or (before == "do" and last in ("it", "that", "this") and len(words) > 2):
        return False
    if last in NEEDED and any(word in QUESTION_WORDS or word in ("all", "that") for word in words[:-1]):
        return False  # "what do you want", "that's all I need"
    if last == "do" and before in SUBJECTS and len(words) > 3 and words[-3] in AUXILIARIES:
        return False  # "what can you do"
    if last in OPENS or (last in ADJECTIVES and before in DETERMINERS) or (last in ADVERBS and before in AUXILIARIES):
        return True
    if last in SUPERLATIVES and before == "the":
        return len(words) < 3 or words[-3] not in BE
    if last in CENTURIES and len(words) > 2:
        return before == "in" or (before in MONTHS and words[-3] == "of")
    if _is_number(last) and before == "only":
        return True
    if last == "times" and _is_number(before):
        return any(word in QUESTION_WORDS for word in words)  # "what is nine times", but "I tried it three times"
    if last in AUXILIARIES and not (last == "may" and before in MONTH_BEGINS):
        return not (words[0] in ANSWERS or _embeds(words))
    if last in QUESTION_WORDS:
        return len(words) > 1
    if last in ("please", "also") and before in SUBJECTS and len(words) > 2 and words[-3] in POLITE:
        return True
    if last in SUBJECTS and len(words) > 1:
        return _lacks_verb(words)
    if last == "in" and before in RECIPIENTS:
        return len(words) < 3 or words[-3] not in LET_IN
    start = _start(words)
    verb = start[0] if start else ""
    if verb in NEED_OBJECT and all(word in PARTICLES or word in COURTESY for word in start[1:]):
        return True
    if last in PARTICLES:
        return not _closes(last, before, words, verb)
    return verb in TWO_OBJECTS and len(start) == 2 and last in RECIPIENTS


def _closes(last: str, before: str, words: list[str], verb: str) -> bool:
    """May this particle be the end?"""
    if last in ADVERBIAL and len(words) > 1:
        return True
    if before in BE or verb in BE:
        return last in MOVABLE or last == "in"  # "the light is on", "is the oven on"
    if before in RECIPIENTS or before in ("it", "that", "this"):
        return last in MOVABLE or last == "in"
    return before in PHRASAL or (verb in TURNED and last in MOVABLE)


def _asks_where(words: list[str]) -> bool:
    """A question of three words: "where are we", "who is she"."""
    return len(words) > 2 and words[-3] in ("where", "who", "how") and words[-2] in BE and words[-1] in SUBJECTS


def _strands(words: list[str]) -> bool:
    """May the preposition at its end stay there? "Where are you from", "what is it about", "who are you talking to"."""
    begin = next((i for i in reversed(range(len(words) - 2)) if words[i] in ("what", "who", "where", "which")), None)
    if begin is None or len(words) - begin > 7 or words[begin + 1] not in AUXILIARIES:
        return False
    return words[-2] in SUBJECTS or words[-2] in STRANDERS


def _embeds(words: list[str]) -> bool:
    """An embedded question that ends with its verb: "do you know what time it is", "tell me where the station is"."""
    begin = next((i for i in reversed(range(len(words) - 1)) if words[i] in QUESTION_WORDS), 0)
    between = words[begin + 1 : -1]
    return begin > 0 and bool(between) and (between[-1] in SUBJECTS or len(between) > 1)


def _lacks_verb(words: list[str]) -> bool:
    """A subject at the end, without what it does: "what do you", "is it", "the bill that you"."""
    before = words[-2]
    if before in BE and any(word in QUESTION_WORDS for word in words[-5:-2]):
        return False  # "how are you", "what time is it"
    return before in LINKS or (before in AUXILIARIES and not before.endswith("n't"))  # but: "nice, isn't it"


def _listed(words: list[str]) -> list[str]:
    """What stands behind the last verb that a list may stand behind."""
    begin = next((i + 1 for i in reversed(range(len(words))) if words[i] in LISTED_BEHIND), len(words))
    return words[begin:]


def _lists(words: list[str]) -> bool:
    """Does it end within a list: "I need milk eggs butter"?"""
    if words[0] in QUESTION_WORDS or words[0] in AUXILIARIES or _introduces(words):
        return False
    items = _listed(words)
    return len(items) >= SHORTEST_LIST and all(map(_is_item, items))


def _is_item(word: str) -> bool:
    return word not in _NO_ITEMS and not word.endswith("ing")


def _is_number(word: str) -> bool:
    return word in NUMBERS or word.isdigit()


# -- what can be the end -----------------------------------------------------------------------------------------------


def _start(words: list[str]) -> list[str]:
    """Without a polite beginning: "could you please tell me" → "tell me"."""
    rest = list(words)
    while rest and (
        rest[0] in FILLERS or rest[0] in COURTESY or rest[0] in ("and", "then", "just", "hey", "hello", "hi")
    ):
        rest = rest[2:] if rest[:2] == ["thank", "you"] else rest[1:]
    if len(rest) > 1 and rest[0] in POLITE and rest[1] == "you":
        rest = rest[2:]
        while rest and rest[0] in ("please", "just", "also"):
            rest = rest[1:]
    return rest


def _takes_leave(text: str, question: str) -> bool:
    """Does it end with a farewell or thanks, or several, behind words that could be the end?"""
    rest, sounds = text, "unclear"
    for _ in range(LONGEST_LEAVE):
        found = _FAREWELL.search(rest) or (_LEADS_IN.search(rest) if sounds == "unfinished" else None)
        if found is None:
            break
        rest = rest[: found.start()].rstrip(_MARKS)
        sounds = _sounds(rest, question)
        if sounds == "finished":
            return True
    return rest != text and sounds == "unclear" and TOLD.isdisjoint(words_of(rest)[-3:])


def _asks(words: list[str]) -> bool:
    """Does it end with a question that has its verb? It may begin behind other sentences."""
    start = _start(words)
    if start and start[0] in QUESTION_WORDS and len(start) >= 3:
        return True
    for index in range(len(words) - 2):
        if words[index] in POLITE and words[index + 1] == "you" and words[index + 2] in REQUESTS:
            return len(words) > index + 3 and _is_request(words[index + 2 :])
        if words[index] in AUXILIARIES and words[index + 1] in SUBJECTS:
            return True  # inverted, and something behind it
        if words[index] in QUESTION_WORDS and words[index + 1] in AUXILIARIES:
            return True
    return len(start) >= 3 and start[0] in AUXILIARIES


def _closes_list(words: list[str]) -> bool:
    """Two items or more, "and", and the last: "milk eggs and two loaves of bread"."""
    items = _listed(words)
    if "and" not in items[2:-1]:
        return False
    last = items[items.index("and") + 1 :]
    return all(map(_is_item, items[: items.index("and")])) and not any(word in SUBJECTS | AUXILIARIES for word in last)


def _introduces(words: list[str]) -> bool:
    """Who the user is: "my name is David", "this is Mary speaking"."""
    return bool(_NAMES.search(" ".join(words)))


def _requests(words: list[str]) -> bool:
    """Does it ask for something to be done? It may do so behind other sentences: "that is enough tell me the date"."""
    begins = [
        i
        for i in range(1, len(words) - 2)
        if words[i] in TWO_OBJECTS and words[i + 1] in RECIPIENTS and words[i - 1] not in _NOT_BEFORE_REQUESTS
    ]
    return any(map(_is_request, (_start(words), *(words[i:] for i in begins))))


def _is_request(words: list[str]) -> bool:
    if not words or words[0] not in REQUESTS:
        return False
    objects = [word for word in words[1:] if word not in COURTESY | RECIPIENTS | {"you"}]
    if words[0] in NEED_OBJECT:
        objects = [word for word in objects if word not in ADVERBIAL and word != "on"]
    if objects and objects[0] in ("i", "we", "he", "she", "they"):
        return False  # "stop I have another question": what it begins with is no object
    return bool(objects) or (words[0] not in NEED_OBJECT and len(words) == 1)
