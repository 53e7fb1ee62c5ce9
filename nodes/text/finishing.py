"""Does what was said so far sound finished, judged by its words alone? And what had been asked?

1. Recognisers write words without trustworthy marks: many put a full stop behind every piece they are asked to finalise. So a
   full stop proves nothing; a question mark does, and so does an ellipsis, a dash or a comma that trails.
2. What can't end an English utterance (an article, "and", "my", "I want") is unfinished. Questions and requests that have their
   object are finished. Statements are unclear: "I would like a table" may go on with "for four".
3. Other languages have their marks only: without words that we know, text is unclear.

The rules are those of descriptive grammar (Quirk et al., A Comprehensive Grammar of the English Language, on determiners,
prepositions and stranding); nothing is learned.
"""

from __future__ import annotations

import re
from typing import Literal

Finish = Literal["finished", "unclear", "unfinished"]
Asked = Literal["nothing", "open", "yes_no", "number"]

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILLERS = _set("um uh er erm em eh ah hm hmm hmmm mm uhm umm uhh")
BEGINNINGS = _set("well so like actually basically maybe perhaps anyway")
"""These begin something where they stand alone, or behind a filler or a conjunction; at the end of a sentence they may end it."""
OPENS = _set(
    "a an the my your our their its his every each another any some no-one's "
    "and or but because if than as while although though unless until since whether nor plus versus "
    "of from for with at by into onto between without within during against among toward towards via per "
    "i we they he she who's what's where's it's that's there's here's i'm i'd i'll i've we're we've we'll you're let's "
    "very quite rather too these those whose which "
    "want need wants needs wanted gonna wanna gotta"
)
"""Words that need another behind them, wherever they stand."""
PARTICLES = _set(
    "in on up off out over down about around through to like after before under that this what where when how"
)
"""These end a clause behind a verb and its object ("turn it on") or in a question ("where are you from"); else they open one."""
STRANDED = _set("of from for with at by to about in on like")
BE = _set("is are am was were be been isn't aren't wasn't weren't")
AUXILIARIES = BE | _set(
    "do does did can could will would shall should may might must have has had "
    "don't doesn't didn't can't couldn't won't wouldn't shouldn't haven't hasn't hadn't"
)
SUBJECTS = _set("i you he she it we they this that there these those")
QUESTION_WORDS = _set("what who whom whose where when why how which")
REQUESTS = _set(
    "tell show give play stop turn set open close call remind add cancel repeat say count sing start read find search send "
    "write put make explain describe switch skip pause resume translate name list spell calculate convert help check"
)
NEED_OBJECT = _set("tell show give remind send call set put make add find open close name spell translate convert")
"""Requests that are nothing without an object."""
RECIPIENTS = _set("me us him her them")
TWO_OBJECTS = _set("tell show give send read")
"""Behind these a recipient alone is not enough: "tell me"."""
COURTESY = _set("please thanks thank you now today tomorrow tonight again okay ok")
ANSWERS = _set(
    "yes yeah yep yup no nope sure okay ok right correct exactly certainly absolutely definitely never always"
)
CLOSED = frozenset(
    (
        "yes please", "no thanks", "no thank you", "thank you", "thanks", "thank you very much", "goodbye", "good bye",
        "bye", "bye bye", "hello", "hi", "good morning", "good night", "good evening", "good afternoon", "stop", "stop it",
        "that's all", "that is all", "that's it", "never mind", "not now", "of course", "go on", "go ahead", "i do",
        "i don't", "i don't know", "i can", "i am", "i see", "help", "yes i do", "no i don't", "yes it is", "no it isn't",
        "yes i am", "no i'm not", "that's right", "that's wrong", "enough", "that's enough", "cancel", "continue", "next",
        "again", "please stop", "be quiet", "wait", "shut up", "pardon", "sorry", "nothing", "all right", "alright",
    )
)  # fmt: skip
"""Complete as they stand, whatever had been asked."""
NUMBERS = _set(
    "zero oh one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand double triple"
)
_TRAILS = re.compile(r"(?:…|\.\.\.|[,;:]|\s[-–—]|—)\s*$")
_THINKING = re.compile(r"\b(?:you know|i mean|let me see|let me think|hold on|what was it|how do you say)$")


def finish(text: str, asked: Asked = "nothing") -> Finish:
    """How finished `text`, all that the user said in this turn, sounds after a question of the kind `asked`."""
    text = text.strip()
    words = words_of(text)
    if not words:
        return "unclear"
    last, before = words[-1], words[-2] if len(words) > 1 else "um"
    if text.endswith("?"):
        return "finished"
    begins = last in BEGINNINGS and (before in FILLERS or before in OPENS)
    if _TRAILS.search(text) or last in FILLERS or begins or _THINKING.search(" ".join(words)):
        return "unfinished"
    if " ".join(words) in CLOSED:
        return "finished"
    if _is_number(last) and (asked == "number" or (len(words) >= 3 and all(map(_is_number, words[-3:])))):
        return "unfinished"  # being dictated: only silence tells where it ends
    if asked == "yes_no" and words[0] in ANSWERS and len(words) <= 3 and last not in OPENS:
        return "finished"
    if _dangles(words):
        return "unfinished"
    return "finished" if _is_question(words) or _is_request(words) else "unclear"


def asked(text: str) -> Asked:
    """What kind of answer the assistant's words `text` ask for, by their last sentence."""
    text = text.strip()
    if not text.endswith("?"):
        return "nothing"
    sentence = re.split(r"(?<=[.!?…])\s+", text)[-1]
    words = words_of(sentence)
    joined = " ".join(words)
    if re.search(r"\b(?:number|how (?:many|much|old|long|far)|what (?:year|date|time)|code|pin|digits|when)\b", joined):
        return "number"
    first = next((word for word in words if word not in _set("and so but okay ok then well or now")), "")
    return "yes_no" if first in AUXILIARIES and " or " not in joined else "open"


def words_of(text: str) -> list[str]:
    """Its words in lower case, without marks."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def _is_number(word: str) -> bool:
    return word in NUMBERS or word.isdigit()


def _dangles(words: list[str]) -> bool:
    """Does its last word need another behind it?"""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    questioned = any(word in QUESTION_WORDS for word in words[:-1])
    if last in OPENS:
        return not (last in STRANDED and questioned and len(words) >= 4)
    if last in AUXILIARIES:
        short = len(words) <= 3 and before in SUBJECTS
        return not (short or (questioned and before not in QUESTION_WORDS and before not in AUXILIARIES))
    if last in QUESTION_WORDS:
        return len(words) > 1
    if last in PARTICLES:
        if last in STRANDED and questioned and len(words) >= 4:
            return False
        if last in ("that", "this"):
            return len(words) < 3
        return not (
            before in RECIPIENTS | {"it", "that", "this"} or words[0] in ("turn", "switch", "come", "go", "shut")
        )
    start = _start(words)
    verb = start[0] if start else ""
    if verb in NEED_OBJECT and len(start) == 1:
        return True
    return verb in TWO_OBJECTS and len(start) == 2 and last in RECIPIENTS


def _start(words: list[str]) -> list[str]:
    """Without a polite beginning: "could you please tell me" → "tell me"."""
    rest = list(words)
    while rest and (
        rest[0] in FILLERS or rest[0] in COURTESY or rest[0] in ("and", "then", "just", "hey", "hello", "hi")
    ):
        rest = rest[1:]
    if len(rest) > 1 and rest[0] in ("can", "could", "would", "will") and rest[1] == "you":
        rest = rest[2:]
        while rest and rest[0] in ("please", "just", "also"):
            rest = rest[1:]
    return rest


def _is_question(words: list[str]) -> bool:
    start = _start(words)
    if not start:
        return False
    if start[0] in QUESTION_WORDS:
        return len(start) >= 3
    return len(start) >= 3 and start[0] in AUXILIARIES and start[1] not in QUESTION_WORDS


def _is_request(words: list[str]) -> bool:
    start = _start(words)
    if not start or start[0] not in REQUESTS:
        return False
    objects = [word for word in start[1:] if word not in COURTESY and word not in RECIPIENTS]
    return bool(objects) or (start[0] not in NEED_OBJECT and len(start) == 1)
