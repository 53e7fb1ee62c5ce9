"""The English words by which `nodes/text/finishing.py` tells how finished something sounds, by what they do in a sentence.

In lower case, without marks but the apostrophe. A word may be in several sets.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILLERS = _words("um uh er erm em eh ah hm hmm hmmm mm uhm umm uhh")
BEGINNINGS = _words("well so like actually basically maybe perhaps anyway")
"""These begin something where they stand alone, or behind a filler or a conjunction; at the end of a sentence they may end it."""
LEAD_INS = _words("and so but okay ok then well or now")
"""A sentence may begin with these and mean what it means without them."""
DETERMINERS = _words("a an the my your our their its his every each another any some only")
NEEDED = _words("want need wants needs wanted needed")
OPENS = (
    DETERMINERS
    | NEEDED
    | _words(
        "and or but because if than as while although though unless until since whether nor plus minus versus "
        "of from for with at by into onto between without within during against among toward towards via per past "
        "i we they he she who's what's where's it's that's there's here's i'm i'd i'll i've we're we've we'll you're let's "
        "very quite rather too these those whose which just even "
        "gonna wanna gotta"
    )
)
"""Words that need another behind them, wherever they stand."""
ADJECTIVES = _words(
    "old new little big small large long short young great nice good bad high low next last whole other certain same different few"
)
"""Between a determiner and its noun."""
SUPERLATIVES = _words(
    "nearest closest best worst biggest largest smallest cheapest fastest quickest shortest longest highest lowest newest oldest "
    "youngest easiest hardest"
)
"""Between "the" and its noun, but behind a form of "be": "which one is the best"."""
ADVERBS = _words("really very quite so too just only also still always never already not")
PARTICLES = _words(
    "in on up off out over down about around through to like after before under that this what where when how"
)
"""These end a clause behind a verb and its object ("turn it on") or in a question ("where are you from"); else they open one."""
ADVERBIAL = _words("off out down up")
"""Of these, what ends many a clause behind its verb, too: "he logged off", "I woke up"."""
MOVABLE = ADVERBIAL | _words("on over around through")
"""These stand behind an object that is a pronoun: "turn it on"."""
PHRASAL = _words("log check sign wake carry hang hold come move go give what's")
"""With a particle they are whole: "log in", "what's up"."""
TURNED = _words("turn switch come go shut put keep leave get")
"""A request with one of these may end with a particle, whatever its object: "could you turn the light on"."""
STRANDED = _words("of from for with at by to about in on like")
STRANDERS = _words(
    "come go talk think look listen wait know hear made called live work belong talking thinking looking waiting"
)
"""Verbs that leave their preposition at the end of a question: "what are you talking about"."""
BE = _words("is are am was were be been isn't aren't wasn't weren't")
AUXILIARIES = BE | _words(
    "do does did can could will would shall should may might must have has had "
    "don't doesn't didn't can't couldn't won't wouldn't shouldn't haven't hasn't hadn't"
)
POLITE = _words("can could would will may")
"""A request may begin with these and its subject."""
MONTH_BEGINS = _words("in of this last next until since early late mid")
"""Before the month that sounds like an auxiliary."""
MONTHS = _words("january february march april may june july august september october november december")
SUBJECTS = _words("i you he she it we they this that there these those")
LINKS = _words("that which who if because when while as and or")
QUESTION_WORDS = _words("what who whom whose where when why how which")
PRONOMINAL = _words("any some another these those")
"""Behind a verb they may stand for what they mean: "do you have any"."""
REQUESTS = _words(
    "tell show give play stop turn set open close call remind add cancel repeat say count sing start read find search send "
    "write put make explain describe switch skip pause resume translate name list spell calculate convert help check"
)
NEED_OBJECT = _words(
    "turn switch tell show give remind send call set put make add find open close name spell translate convert"
)
"""Requests that are nothing without an object."""
RECIPIENTS = _words("me us him her them")
LET_IN = _words("let bring take put get check count fill sign log call invite")
"""Behind these and a recipient "in" closes the clause: "let me in", but "that you sent me in"."""
TWO_OBJECTS = _words("tell show give send read")
"""Behind these a recipient alone is not enough: "tell me"."""
COURTESY = _words("please thanks thank now today tomorrow tonight again okay ok")
ANSWERS = _words(
    "yes yeah yep yup no nope sure okay ok right correct exactly certainly absolutely definitely never always"
)
FAREWELLS = frozenset(
    (
        "thank you", "thank you very much", "thank you so much", "thank you again", "thanks", "thanks a lot", "thanks again", "goodbye",
        "bye", "bye now", "bye for now", "good night", "goodnight", "see you later", "see you soon", "see you tomorrow", "have a nice day",
        "have a good day", "have a nice evening", "have a good evening",
    )
)  # fmt: skip
"""They end a conversation, or what was asked in it, behind whatever was said. None ends with another."""
TOLD = _words(
    "text write play translate called does mean means spell say says said saying tell tells told telling wave waves waved waving kiss kissed give gives gave"
)
"""Behind these a farewell is what is told of: "I want to say goodbye"."""
CLOSED = FAREWELLS | frozenset(
    (
        "yes please", "no thanks", "no thank you", "good bye", "bye bye", "that's all", "that is all", "that's it", "never mind", "not now",
        "of course", "go on", "go ahead", "i don't know", "i see", "help", "yes i do", "no i don't", "yes it is",
        "no it isn't", "yes i am", "no i'm not", "that's right", "that's wrong", "cancel",
        "continue", "next", "again", "pardon", "sorry", "nothing", "all right",
        "alright", "me too", "so do i", "so am i", "i think so too", "guess what", "i'd love to", "i don't want to", "i don't know why", "why not", "of course not", "i think so", "i hope so", "i hope not",
    )
)  # fmt: skip
"""Complete as they stand, whatever had been asked."""
ELLIPSES = frozenset(
    ("i do", "i don't", "i do not", "i can", "i can't", "i am", "i am not", "i have", "i will", "i would")
)
"""Complete as answers to a question for yes or no; else a verb is missing."""
OPENINGS = frozenset(
    (
        "hello", "hello again", "hello there", "hi", "hi there", "hey", "hey there", "good morning", "good evening",
        "good afternoon", "stop", "stop it", "please stop", "stop please", "enough", "that's enough", "that is enough",
        "be quiet", "shut up",
    )
)  # fmt: skip
"""Complete as they stand, and yet often said before what is really meant."""
LISTED_BEHIND = BE | _words("have has had need like want buy get take bring eat drink sell see")
"""A list may stand behind these."""
CENTURIES = _words("eighteen nineteen twenty")
"""A year begins with these …"""
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety oh")
TEENS = _words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
"""… and ends with one of these, or with one of those before it and a digit."""
NUMBERS = _words(
    "zero oh one two three four five six seven eight nine double triple ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy "
    "eighty ninety hundred thousand"
)
