"""Make the conversations for judging when a turn is over (`turns/`) from the scripts beside them (`turns/SET/VOICE.txt`).

    python graphs/conversations/make_turns.py [VOICE ...]

Needs Debian's flite; espeak-ng comes with the espeakng-loader wheel (its sound differs a little each time; flite's does
not). Run it by hand after changing a script, for that voice only, then `check_turns.py`.

A script has a line for each utterance: `KIND | TEXT | KEYS`, where the keys are YAML for the utterance. Speech pauses at
each "…" and between two sentences.

1. Sentences are synthesised one by one, so each ends as a sentence does. A "…" is cut into the sound of the whole
   sentence, at the quietest place near the word boundary by the synthesiser's own timing: the melody says that it goes
   on. Nothing is lengthened, which real speakers do before they pause.
2. How long the pauses are, and in which rooms it is said: `takes.py`.
3. No voice is in both sets: fit a policy with `turns/fit`, report figures of `turns/report`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from takes import MS, SPEECH_DBFS, Take, clean, leveled, read_wav, write  # noqa: E402

from nodes.servers.espeak import Espeak, Manner  # noqa: E402
from nodes.sound.conversation import RATE_HZ, levels_dbfs  # noqa: E402

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

TURNS = HERE / "turns"
AWAY_DB = -6.0
"""Words to somebody else: the head is turned away."""
NEAR_MS = 25
"""How far from a word boundary the sound may be cut."""
NOTHING = ("backchannel", "cough", "side_talk")
"""Kinds that expect no answer."""
SAID = {"Mhm.": "m hh ax m"}
"""Words that flite spells out, in its phones."""


@dataclasses.dataclass(frozen=True)
class Flite:
    """A voice of flite; `stretch` over 1 is slower."""

    voice: str
    stretch: float = 1.0

    def __str__(self) -> str:
        return f"flite 2.2, {self.voice}, duration {self.stretch:g}"

    def speak(self, text: str, cuts: list[int]) -> tuple[Samples, list[int]]:
        """The sound of `text`, and the sample at which each word of `cuts` (counted from 0) begins."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            phones = self._phones(text, path)
            samples = read_wav(path)
        spoken = [(name, end) for name, end in phones if name != "pau"]
        words = text.split()
        places = []
        for cut in cuts:
            count = len([name for name, _ in self._phones(" ".join(words[:cut])) if name != "pau"])
            rest = len([name for name, _ in self._phones(" ".join(words[cut:])) if name != "pau"])
            if count + rest != len(spoken):
                sys.exit(f"flite says {text!r} differently in parts: move the pause before {words[cut]!r}")
            places.append(round(spoken[count - 1][1] * RATE_HZ))
        return samples, places

    def _phones(self, text: str, path: Path | None = None) -> list[tuple[str, float]]:
        """(phone, its end in seconds), …"""
        said = ["-p", SAID[text]] if text in SAID else ["-t", text]
        stretch = f"duration_stretch={self.stretch}"
        command = ["flite", "-voice", self.voice, "--setf", stretch, *said, "-psdur", "-o", str(path or "none")]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [(name, float(end)) for name, end in (phone.split(":") for phone in printed.split())]


@dataclasses.dataclass(frozen=True)
class EspeakNg:
    """A voice of espeak-ng."""

    manner: Manner

    def __str__(self) -> str:
        return f"espeak-ng, {self.manner.voice}, {self.manner.words_per_minute} words a minute"

    def speak(self, text: str, cuts: list[int]) -> tuple[Samples, list[int]]:
        """As `Flite.speak`."""
        import numpy as np
        import soxr

        sound: list[bytes] = []
        begins: dict[int, int] = {}

        def heard(piece: bytes, words: list[tuple[int, int, int]]) -> bool:
            sound.append(piece)
            begins.update({place: sample for sample, place, _ in words})
            return True

        engine = _espeak()
        said = text.replace("Mhm", "[[m'hm]]")
        engine.speak(said, self.manner, heard)
        pcm = np.frombuffer(b"".join(sound), "<i2").astype(np.float32) / np.float32(32768)
        samples: Samples = soxr.resample(pcm, engine.rate_hz, RATE_HZ)
        places = [word.start() for word in re.finditer(r"\S+", said)]
        missing = [cut for cut in cuts if places[cut] not in begins]
        if missing:
            sys.exit(f"espeak-ng joins words of {text!r}: move the pause before its word {missing[0] + 1}")
        return samples, [begins[places[cut]] * RATE_HZ // engine.rate_hz for cut in cuts]


VOICES: dict[str, Flite | EspeakNg] = {
    "awb": Flite("awb", 0.85),
    "slt": Flite("slt", 0.8),
    "us-klatt": EspeakNg(Manner("en-us+klatt4", 195)),
    "scot-f2": EspeakNg(Manner("en-gb-scotland+f2", 190)),
    "rms": Flite("rms", 0.75),
    "kal16": Flite("kal16", 0.95),
    "rp-klatt": EspeakNg(Manner("en-gb-x-rp+klatt4", 195, 65)),
    "us-m3": EspeakNg(Manner("en-us+m3", 215)),
}


def main() -> None:
    """Write the files of all voices, or of those that are named."""
    if shutil.which("flite") is None:
        sys.exit("make_turns.py needs flite\n  = apt-get install flite")
    for script in sorted(TURNS.glob("*/*.txt")):
        if script.stem in (sys.argv[1:] or VOICES):
            print(script.relative_to(TURNS).with_suffix(""), flush=True)
            _make(script)


def _make(script: Path) -> None:
    """Write a voice's WAV files and its YAML files, one for each room."""
    voice, seed = VOICES[script.stem], list(VOICES).index(script.stem)
    takes = [_take(voice, line, 100 * seed + number) for number, line in enumerate(script.read_text().splitlines(), 1)]
    head = f"# Made by make_turns.py of {script.name}; edit that. What goes where is said at the head of demo.yaml.\n"
    write(script.with_suffix(""), takes, head, str(voice), seed)


def _take(voice: Flite | EspeakNg, line: str, seed: int) -> Take:
    """What a line of a script sounds like."""
    kind, text, keys = (part.strip() for part in f"{line} | | ".split("|")[:3])
    said = dict(yaml.safe_load(keys) or {})
    if kind in NOTHING:
        said["expects"] = "nothing"
    if kind == "cough":
        return Take(kind, [_cough(seed)], said)
    sentences = re.findall(r"[^.?!]+[.?!]", text)
    parts = [part for sentence in sentences for part in _parts(voice, sentence)]
    said["text"] = " ".join(text.replace("…", " ").split())
    lengths = [len(part.split()) for sentence in sentences for part in sentence.split("…")]
    if len(lengths) > 1:
        said["said_before"] = list(itertools.accumulate(lengths[:-1]))
    return Take(kind, leveled(parts, AWAY_DB if kind == "side_talk" else 0), said)


def _parts(voice: Flite | EspeakNg, sentence: str) -> list[Samples]:
    """A sentence, cut where it pauses."""
    import numpy as np

    words: list[str] = []
    cuts = []
    for word in sentence.split():
        if word == "…":
            cuts.append(len(words))
        else:
            words.append(word)
    samples, places = voice.speak(" ".join(words), cuts)
    near = NEAR_MS * MS
    levels = levels_dbfs(samples)
    exact = [place - near + int(np.argmin(levels[place - near : place + near])) for place in places]
    return np.split(samples, exact)


def _cough(seed: int) -> Samples:
    """A cough: a burst of breath, then one or two weaker ones, through the resonances of an open mouth."""
    import numpy as np

    chance = np.random.default_rng(seed)
    bursts = [(0, 1.0), (int(chance.integers(180, 260)), 0.5), (int(chance.integers(420, 520)), 0.8)]
    samples = np.zeros(900 * MS, np.float32)
    for begin_ms, loud in bursts[: int(chance.integers(2, 4))]:
        time = np.arange(300 * MS) / RATE_HZ
        envelope = loud * np.minimum(time / 0.008, 1) * np.exp(-time / chance.uniform(0.04, 0.07))
        spectrum = np.fft.rfft(chance.standard_normal(len(time)))
        hz = np.fft.rfftfreq(len(time), 1 / RATE_HZ)
        mouth = sum(1 / (1 + ((hz - centre) / width) ** 2) for centre, width in ((700, 200), (1500, 400), (3000, 900)))
        burst = np.fft.irfft(spectrum * mouth, len(time)) * envelope
        begin = begin_ms * MS
        samples[begin : begin + len(burst)] += burst.astype(np.float32)
    samples *= np.float32(10 ** ((SPEECH_DBFS + 9) / 20) / np.abs(samples).max() * 1.5)
    return clean(samples)


@functools.cache
def _espeak() -> Espeak:
    return Espeak()


if __name__ == "__main__":
    main()
