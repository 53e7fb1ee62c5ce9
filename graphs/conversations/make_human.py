"""Make conversations for judging when a turn is over from the telephone prompts of Asterisk, which a person has spoken.

    apt-get install asterisk-core-sounds-en-g722 asterisk-core-sounds-en
    python graphs/conversations/make_human.py FOLDER [--language en|es|fr|it|ru] [--repeats 10] [--split]

Writes FOLDER/LANGUAGE-quiet.yaml, FOLDER/LANGUAGE-loud.yaml and their WAV files (some 50 MB); needs ffmpeg. With --split every
other utterance goes into FOLDER/fit, to choose a policy by, and the rest into FOLDER/report, to judge it by. The prompts are
by Allison Smith and others under CC-BY-SA-3.0 (/usr/share/doc/asterisk-core-sounds-*/copyright), so is what comes out:
that is why it isn't part of the repository.

1. A prompt of some words is an utterance, with the pauses that its speaker made.
2. Some prompts were spoken to be continued ("You are entering conference number", "There are currently"): joined with
   numbers and with each other, with drawn pauses (`takes.py`), they are hesitations, numbers and lists.
3. Two sentences with a drawn pause between them are an utterance of two sentences.
4. Text comes from the package's list, and is left out where that has none.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from takes import Take, leveled, write  # noqa: E402

from nodes.sound.conversation import RATE_HZ, annotate  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

SOUNDS = Path("/usr/share/asterisk/sounds")
TEXTS = "/usr/share/doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
FOLDERS = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}
SEED = 100
"""Of the pauses: far from those of `make_turns.py`."""
PATTERNS = {
    "hesitation": (
        "conf-enteringno … D D D",
        "conf-thereare … D … conf-otherinparty",
        "queue-thereare … D",
        "queue-holdtime … D … minutes",
        "queue-holdtime … queue-less-than … D … minutes",
        "at-tone-time-exactly … HOUR … digits/oclock",
        "vm-youhave … D … vm-INBOX vm-messages … vm-and … D … vm-Old vm-messages",
        "vm-from-extension … D D … D D",
        "vm-received … DAY … digits/at … HOUR digits/oclock",
        "followme/call-from … PHONETIC … PHONETIC",
    ),
    "number": (
        "vm-num-i-have … D D D … D D … D D",
        "vm-from-phonenumber … D D D … D D D … D D D D",
        "D D … D D … D D",
        "DAY … MONTH … NTH",
        "HOUR … TENS UNIT",
    ),
    "list": (
        "DAY … DAY … vm-and … DAY",
        "MONTH … MONTH … MONTH … vm-and … MONTH",
        "PHONETIC … PHONETIC … PHONETIC … vm-and … PHONETIC",
        "LETTER … LETTER … LETTER … D D",
    ),
    "one_word": ("DAY", "MONTH", "vm-no", "D"),
}
"""Names of prompts, "…" where the speaker hesitates, and these sets of which one is drawn:"""
SETS = {
    "D": [f"digits/{n}" for n in range(10)],
    "UNIT": [f"digits/{n}" for n in range(1, 10)],
    "HOUR": [f"digits/{n}" for n in range(1, 13)],
    "TENS": [f"digits/{n}" for n in (20, 30, 40, 50)],
    "NTH": [f"digits/h-{n}" for n in range(1, 21)],
    "DAY": [f"digits/day-{n}" for n in range(7)],
    "MONTH": [f"digits/mon-{n}" for n in range(12)],
    "LETTER": [f"letters/{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"],
    "PHONETIC": [f"phonetic/{letter}_p" for letter in "abcdefghijklmnopqrstuvwxyz"],
}
UNFINISHED = re.compile(r"\.\.\.|^To [^,]*$|:$")
"""Prompts to be continued, which no pattern continues."""
FEWEST_WORDS = 3
SHORTEST_S, LONGEST_S = 0.8, 12.0
"""Prompts outside of this are no utterances: fragments, and recorded manuals."""


def main() -> None:
    """Write the conversation. Ends with a message if the prompts or ffmpeg are missing."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--language", choices=FOLDERS, default="en")
    options.add_argument("--repeats", type=int, default=10, help="how many of each pattern, other numbers in each")
    options.add_argument("--split", action="store_true", help="into FOLDER/fit and FOLDER/report")
    chosen = options.parse_args()
    prompts = SOUNDS / FOLDERS[chosen.language]
    if shutil.which("ffmpeg") is None:
        sys.exit("make_human.py needs ffmpeg\n  = apt-get install ffmpeg")
    if not any(prompts.rglob("*.g722")):
        sys.exit(f"there are no prompts in {prompts}\n  = apt-get install asterisk-core-sounds-{chosen.language}-g722")
    texts = _texts(Path(TEXTS.format(language=chosen.language)))
    takes = [*_whole(prompts, texts), *_pairs(prompts, texts), *_patterns(prompts, texts, chosen.repeats)]
    head = "# Made by make_human.py of Asterisk's prompts, CC-BY-SA-3.0. What goes where is said at the head of demo.yaml.\n"
    parts = {"fit": takes[::2], "report": takes[1::2]} if chosen.split else {"": takes}
    for seed, (name, part) in enumerate(parts.items(), SEED):
        path = chosen.folder / name / chosen.language
        write(path, part, head, f"Asterisk's prompts, {FOLDERS[chosen.language]}", seed)
        print(f"{len(part)} utterances: {path}-quiet.yaml, {path}-loud.yaml")


def _texts(path: Path) -> dict[str, str]:
    """What is said in each prompt, without what is a sound or a comment."""
    if not path.exists():
        return {}
    lines = gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line and not line.startswith(";"))
    return {name.strip(): " ".join(text.split()) for name, text in pairs if not re.search(r"[\[<(#*]|H\.323", text)}


def _whole(prompts: Path, texts: dict[str, str]) -> Iterator[Take]:
    """Prompts that are utterances by themselves."""
    for name in _utterances(prompts, texts):
        kind = "two_sentences" if len(re.findall(r"[.?!](?= )", texts.get(name, ""))) else "plain"
        yield _take(kind, [[name]], prompts, texts)


def _pairs(prompts: Path, texts: dict[str, str]) -> Iterator[Take]:
    """Each two of the sentences."""
    sentences = [name for name in _utterances(prompts, texts) if texts.get(name, "").endswith((".", "!", "?"))]
    for first, second in zip(sentences[::2], sentences[1::2], strict=False):
        yield _take("two_sentences", [[first], [second]], prompts, texts)


def _utterances(prompts: Path, texts: dict[str, str]) -> list[str]:
    """Names of prompts that are no fragment, no beep, and no manual."""
    continued = {name for pattern in itertools.chain.from_iterable(PATTERNS.values()) for name in pattern.split()}
    names = sorted(str(path.relative_to(prompts).with_suffix("")) for path in prompts.rglob("*.g722"))
    return [
        name
        for name in names
        if name not in continued
        and not name.startswith(("silence/", "digits/", "letters/", "phonetic/"))
        and (not texts or (len(texts.get(name, "").split()) >= FEWEST_WORDS and not UNFINISHED.search(texts[name])))
        and SHORTEST_S <= len(_sound(prompts, name)) / RATE_HZ <= LONGEST_S
    ]


def _patterns(prompts: Path, texts: dict[str, str], repeats: int) -> Iterator[Take]:
    """The patterns, filled in again and again, without those of which a prompt is missing."""
    import numpy as np

    chance = np.random.default_rng(SEED)
    for kind, patterns in PATTERNS.items():
        for pattern in patterns * repeats:
            parts = [
                [str(chance.choice(SETS[name])) if name in SETS else name for name in part.split()]
                for part in pattern.split("…")
            ]
            if all((prompts / f"{name}.g722").exists() for part in parts for name in part):
                yield _take(kind, parts, prompts, texts)


def _take(kind: str, parts: list[list[str]], prompts: Path, texts: dict[str, str]) -> Take:
    import numpy as np

    sounds = [np.concatenate([_sound(prompts, name) for name in part]) for part in parts]
    whole = len(parts) == 1 or kind == "two_sentences"
    said = [[texts.get(name, "") if whole else texts.get(name, "").strip(" .:") for name in part] for part in parts]
    keys: dict[str, Any] = {}
    if all(text for part in said for text in part):
        lengths = [len(" ".join(part).split()) for part in said]
        keys = {"text": " ".join(text for part in said for text in part)}
        keys |= {"said_before": list(itertools.accumulate(lengths[:-1]))} if len(parts) > 1 else {}
    return Take(kind, leveled(sounds), keys)


@functools.cache
def _sound(prompts: Path, name: str) -> Samples:
    """A prompt without the silence around it: float32, shape (n,), at 16 kHz; empty if nobody speaks in it."""
    import numpy as np

    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "g722",
        "-i",
        str(prompts / f"{name}.g722"),
        "-ar",
        str(RATE_HZ),
        "-ac",
        "1",
    ]
    pcm = subprocess.run([*command, "-f", "s16le", "-"], check=True, capture_output=True).stdout
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)
    found = annotate(samples)
    if found is None:
        return samples[:0]
    (first, last), _ = found
    return samples[max(first - RATE_HZ // 50, 0) : last + RATE_HZ // 25]


if __name__ == "__main__":
    main()
