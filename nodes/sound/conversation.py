"""Recorded users: a YAML file beside WAV files says what is spoken, when, and where exactly the speech is in the sound.

1. Sound is 16 kHz mono 16-bit WAV. 0 dBFS is a root mean square of 1.0.
2. A sample is voiced when the 5 ms around it are above −45 dBFS. `speech` is the first and the last voiced sample of an
   utterance; `pauses` are the stretches of at least 100 ms between them in which no sample is voiced.
3. A span is `[first, last]` in samples, both included, counted from the start of the file with its `silences` in it:
   stretches of digital silence that the file leaves out, put in while playing. They are annotated as if they were stored.
4. The noise floor is no part of the files: whoever plays a conversation adds `noise_floor()` under all of it, also
   between the utterances, so that a voice activity detector sees neither digital silence nor a seam.
5. An utterance with `pause` is spoken that long after nobody speaks any more: the answer to the utterance before has
   been played to its end (or it expected none). One with `barge_in` is spoken that long after the last answer became
   audible, whether or not that answer is still being played.
6. An answer that hasn't begun within `patience` of the end of speech is missing; the conversation goes on without it.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from flowgraph.document import MAX_BYTES, DataPath, Document, Spot, parse, suggest
from flowgraph.errors import FlowError, GraphError, Problem
from flowgraph.units import FROM_FILE, MS, SECOND, Duration, format_duration

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]
    Levels = npt.NDArray[np.float64]

RATE_HZ = 16_000
VOICED_DBFS = -45.0
WINDOW = RATE_HZ * 5 // 1000
SHORTEST_PAUSE = RATE_HZ * 100 // 1000

_MANUAL = "the head of graphs/conversations/demo.yaml says what goes where"
_CONVERT = "convert it: ffmpeg -i {name} -ac 1 -ar 16000 -c:a pcm_s16le NEW.wav"


def _ordered(span: tuple[int, int]) -> tuple[int, int]:
    first, last = span
    if not 0 <= first < last:
        raise ValueError(f"[{first}, {last}] isn't a span: write [first, last] in samples, first before last")
    return span


Span = Annotated[tuple[int, int], AfterValidator(_ordered)]
"""[first, last] in samples at 16 kHz, both included."""


class RecordedUtterance(BaseModel):
    """One thing that the recorded user says."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    audio: Path = Field(description="WAV file, from the folder of the YAML file.")
    kind: str = Field("", description="What it is an example of, such as hesitation; results are broken down by it.")
    text: str = Field("", description="What is really said; empty = not known.")
    asked: str = Field("", description="What the assistant has asked before, if this answers a question.")
    silences: tuple[Span, ...] = Field((), description="Stretches of silence that the file leaves out, in order.")
    said_before: tuple[int, ...] = Field(
        (), description="How many words of `text` are said before each of `silences`; without, it is estimated."
    )
    range: Span | None = Field(None, description="The part of the file that is played; all of it without.")
    speech: Span | None = Field(None, description="First and last voiced sample; estimated from the level without.")
    pauses: tuple[Span, ...] = Field(
        (), validate_default=True, description="Every stretch of 100 ms or more without a voiced sample inside."
    )
    expects: Literal["answer", "nothing"] = Field("answer", description="What the assistant should do about it.")
    barge_in: Duration | None = Field(None, description="Spoken this long after the last answer became audible.")
    pause: Duration = Field(700 * MS, description="Spoken this long after nobody speaks any more.")
    estimated: bool = Field(False, description="`speech` and `pauses` come from the level, not from an annotation.")

    @field_validator("silences")
    @classmethod
    def _apart(cls, silences: tuple[Span, ...]) -> tuple[Span, ...]:
        for (_, before), (first, last) in itertools.pairwise(silences):
            if first <= before + 1:
                raise ValueError(f"[{first}, {last}] has no sound before it: silences lie apart, in order")
        return silences

    @field_validator("said_before")
    @classmethod
    def _in_the_text(cls, before: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        silences, words = len(info.data.get("silences", ())), len(info.data.get("text", "").split())
        if before and len(before) != silences:
            raise ValueError(f"{len(before)} numbers for {silences} `silences`: one for each, or none at all")
        if any(not 0 < count < words for count in before) or list(before) != sorted(before):
            raise ValueError(
                f"{list(before)} counts words of `text`, which has {words}: rising, and some before and behind each"
            )
        return before

    @field_validator("range")
    @classmethod
    def _around_the_silences(cls, played: Span | None, info: ValidationInfo) -> Span | None:
        silences = info.data.get("silences")
        if played and silences and not played[0] <= silences[0][0] < silences[-1][1] <= played[1]:
            raise ValueError(f"{list(played)} cuts into `silences`, which reach to {silences[-1][1]}")
        return played

    @field_validator("speech")
    @classmethod
    def _inside_the_range(cls, speech: Span | None, info: ValidationInfo) -> Span | None:
        played = info.data.get("range")
        if speech and played and not played[0] <= speech[0] < speech[1] <= played[1]:
            raise ValueError(f"{list(speech)} reaches outside of `range`, {list(played)}")
        return speech

    @field_validator("pauses")
    @classmethod
    def _inside_the_speech(cls, pauses: tuple[Span, ...], info: ValidationInfo) -> tuple[Span, ...]:
        speech = info.data.get("speech")
        if pauses and not speech:
            raise ValueError("pauses without `speech`: annotate both or neither")
        before = speech[0] if speech else 0
        for first, last in pauses:
            if last + 1 - first < SHORTEST_PAUSE:
                raise ValueError(f"[{first}, {last}] is shorter than 100 ms ({SHORTEST_PAUSE} samples): leave it out")
            if first <= before:
                raise ValueError(f"[{first}, {last}] overlaps what is before it: pauses lie within `speech`, in order")
            before = last
        if pauses and speech and before >= speech[1]:
            raise ValueError(f"{list(pauses[-1])} reaches outside of `speech`, {list(speech)}")
        for first, last in info.data.get("silences", ()):
            inside = speech and speech[0] < first < last < speech[1] and last + 1 - first >= SHORTEST_PAUSE
            if inside and not any(begin <= first + WINDOW and last - WINDOW <= end for begin, end in pauses):
                raise ValueError(f"no pause covers [{first}, {last}], which is one of `silences`")
        return pauses

    @field_validator("pause")
    @classmethod
    def _one_way_to_begin(cls, pause: int, info: ValidationInfo) -> int:
        if info.data.get("barge_in") is not None:
            raise ValueError("an utterance has `pause` or `barge_in`, not both")
        return pause

    @property
    def played(self) -> Span:
        """The span of the file that is played: `range`, filled in."""
        assert self.range is not None, "load_conversation fills it in"
        return self.range

    @property
    def duration_ns(self) -> int:
        """How long all of it plays."""
        return (self.played[1] + 1 - self.played[0]) * SECOND // RATE_HZ

    @property
    def speech_start(self) -> int:
        """The first voiced sample, as an index into `samples()`."""
        return self._annotated[0] - self.played[0]

    @property
    def speech_end(self) -> int:
        """The last voiced sample, as an index into `samples()`."""
        return self._annotated[1] - self.played[0]

    @property
    def hesitations(self) -> tuple[Span, ...]:
        """`pauses` as indices into `samples()`."""
        return tuple((first - self.played[0], last - self.played[0]) for first, last in self.pauses)

    @property
    def _annotated(self) -> Span:
        assert self.speech is not None, "load_conversation fills it in"
        return self.speech

    @property
    def silent(self) -> int:
        """How many of the samples that are played are not in the file."""
        return sum(last + 1 - first for first, last in self.silences)

    def samples(self) -> Samples:
        """What is played, without the noise floor: float32, shape (n,), in [-1, 1] at 16 kHz."""
        import numpy as np

        first, last = self.played
        with wave.open(str(self.audio)) as file:
            file.setpos(first)
            stored = np.frombuffer(file.readframes(last + 1 - first - self.silent), "<i2")
        samples = np.zeros(last + 1 - first, np.float32)
        sounds = np.ones(len(samples), bool)
        for begin, end in self.silences:
            sounds[begin - first : end + 1 - first] = False
        samples[sounds] = stored.astype(np.float32) / np.float32(32768)
        return samples


class Conversation(BaseModel):
    """A recorded user: what is said, in order, and the noise of the room."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: str = ""
    description: str = ""
    voice: str = Field("", description="Who or what speaks; reports name it beside their figures.")
    noise_floor_dbfs: float = Field(-60.0, ge=-120, le=-20, description="White noise under everything.")
    noise_seed: int = Field(1, ge=0, description="Makes the noise the same each time.")
    patience: Duration = Field(15 * SECOND, description="How long to wait for an answer to begin.")
    utterances: tuple[RecordedUtterance, ...]

    @field_validator("utterances")
    @classmethod
    def _something_is_said(cls, utterances: tuple[RecordedUtterance, ...]) -> tuple[RecordedUtterance, ...]:
        if not utterances:
            raise ValueError("needs at least one utterance")
        return utterances

    @property
    def estimated(self) -> bool:
        """True if any end of speech is a guess from the level: figures measured with it have to say so."""
        return any(utterance.estimated for utterance in self.utterances)

    def noise_floor(self) -> Samples:
        """Eight seconds of the room, to be played round and round under everything: float32, shape (n,), at 16 kHz."""
        import numpy as np

        # Uniform, which is as white as normal: numpy's own generators take 7 MB of memory to import.
        samples = random.Random(self.noise_seed).randbytes(8 * RATE_HZ * 2)  # noqa: S311 -- the same each time
        noise = np.frombuffer(samples, "<i2").astype(np.float32)
        noise *= 10 ** (self.noise_floor_dbfs / 20) / np.sqrt(noise @ noise / len(noise))
        return noise


def load_conversation(path: str | Path, *, listen: bool = True) -> Conversation:
    """Read a conversation's YAML file, or make one of a folder of WAV files (each an utterance, in order of name).

    Without `listen` only what can be seen at a glance is checked: where speech isn't annotated, it isn't looked for.
    Raises GraphError with everything that is wrong, each with its place in the file and what to do.
    """
    path = Path(path)
    if path.is_dir():
        return _of_folder(path, listen=listen)
    document = _document(path)
    try:
        conversation = Conversation.model_validate(document.data, context=FROM_FILE)
    except ValidationError as error:
        raise GraphError([_problem_of(each, document) for each in error.errors()]) from None
    return _with_sound(conversation, path.parent, document, listen=listen)


def annotate(samples: Samples, threshold_dbfs: float = VOICED_DBFS) -> tuple[Span, tuple[Span, ...]] | None:
    """First and last voiced sample and the pauses between, by rule 2; None if nothing is voiced."""
    import numpy as np

    voiced = np.flatnonzero(levels_dbfs(samples) > threshold_dbfs)
    if len(voiced) < 2:
        return None
    gaps = np.flatnonzero(np.diff(voiced) > SHORTEST_PAUSE)
    pauses = tuple((int(voiced[gap]) + 1, int(voiced[gap + 1]) - 1) for gap in gaps)
    return (int(voiced[0]), int(voiced[-1])), pauses


def levels_dbfs(samples: Samples) -> Levels:
    """The level of the 5 ms around each sample: float64, the shape of `samples`, at least −200."""
    import numpy as np

    power = np.pad(samples.astype(np.float64) ** 2, WINDOW // 2)
    total = np.concatenate([[0.0], np.cumsum(power)])
    mean = (total[WINDOW:] - total[:-WINDOW])[: len(samples)] / WINDOW
    levels: Levels = 10 * np.log10(np.maximum(mean, 1e-20))
    return levels


def _estimate(utterance: RecordedUtterance) -> RecordedUtterance | None:
    """Fill in `speech` and `pauses` of a recording with noise of its own; None if there is no speech in it."""
    import numpy as np

    samples = utterance.samples()
    levels = levels_dbfs(samples)
    # 10 dB above the quietest tenth, which is the room, unless the clip is cut so close that it holds none.
    room, loudest = float(np.percentile(levels, 10)), float(levels.max())
    found = annotate(samples, max(VOICED_DBFS, min(room + 10, loudest - 25)))
    if found is None:
        return None
    offset = utterance.played[0]
    (first, last), pauses = found
    moved = tuple((begin + offset, end + offset) for begin, end in pauses)
    return utterance.model_copy(update={"speech": (first + offset, last + offset), "pauses": moved, "estimated": True})


def _of_folder(folder: Path, *, listen: bool) -> Conversation:
    names = sorted(file.name for file in folder.iterdir() if file.suffix.lower() == ".wav")
    if not names:
        hint = "put 16 kHz mono 16-bit WAV files there, one for each utterance, or name a conversation's YAML file"
        raise GraphError([Problem(f"there is no WAV file in {folder}", hint)])
    utterances = tuple(RecordedUtterance(audio=Path(name)) for name in names)
    return _with_sound(Conversation(name=folder.name, utterances=utterances), folder, listen=listen)


def _with_sound(
    conversation: Conversation, folder: Path, document: Document | None = None, *, listen: bool
) -> Conversation:
    """Everything that can only be said with the WAV files at hand. Raises GraphError."""
    problems: list[Problem] = []

    def report(number: int, key: str, message: str, hint: str) -> None:
        if document:
            problems.append(document.problem(("utterances", number, key), message, hint))
        else:
            problems.append(Problem(message, hint, str(folder)))

    utterances: list[RecordedUtterance] = []
    for number, utterance in enumerate(conversation.utterances):
        found = utterance.model_copy(update={"audio": folder / utterance.audio})
        try:
            utterances.append(_checked(found, listen=listen))
        except _Wrong as wrong:
            report(number, wrong.key, str(wrong), wrong.hint)
    if problems:
        raise GraphError(problems)
    for number, message, hint in _wrong_order(utterances):
        report(number, "barge_in", message, hint)
    if problems:
        raise GraphError(problems)
    return conversation.model_copy(update={"utterances": tuple(utterances)})


class _Wrong(Exception):
    def __init__(self, key: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.key = key
        self.hint = hint


def _checked(utterance: RecordedUtterance, *, listen: bool) -> RecordedUtterance:
    """The utterance with its annotation; without `listen`, as far as there is one. Raises _Wrong."""
    name = utterance.audio.name
    try:
        frames = _frames_of(utterance.audio) + utterance.silent
    except FlowError as error:
        raise _Wrong("audio", error.message, error.hint) from None
    silences = utterance.silences[-1] if utterance.silences else None
    for key, span in (("silences", silences), ("range", utterance.range), ("speech", utterance.speech)):
        if span and span[1] >= frames:
            hint = f"spans count samples from 0, so the last one is {frames - 1}"
            has = f"{frames} samples" + (", `silences` included" if silences else "")
            raise _Wrong(key, f"'{key}' {list(span)} reaches outside of {name}, which has {has}", hint)
    whole = utterance.model_copy(update={"range": utterance.range or (0, frames - 1)})
    if whole.speech or not listen:
        return whole
    estimated = _estimate(whole)
    if estimated is None:
        hint = "record it louder, or leave the file out"
        raise _Wrong("audio", f"there is no speech in {name}: nothing in it is above {VOICED_DBFS:g} dBFS", hint)
    return estimated


def _frames_of(path: Path) -> int:
    """How many samples a 16 kHz mono 16-bit WAV file holds. Raises FlowError if it is anything else."""
    hint = _CONVERT.format(name=path.name)
    try:
        with wave.open(str(path)) as file:
            rate_hz, channels, bits = file.getframerate(), file.getnchannels(), 8 * file.getsampwidth()
            frames: int = file.getnframes()
    except OSError as error:
        raise FlowError(f"can't read {path}: {error.strerror}", hint="name a WAV file beside the YAML file") from None
    except (wave.Error, EOFError) as error:
        raise FlowError(f"{path.name} isn't a WAV file of 16-bit samples ({error or 'cut short'})", hint=hint) from None
    if not frames:
        raise FlowError(f"{path.name} holds no sound", hint="record it again, or leave it out")
    if (rate_hz, channels, bits) != (RATE_HZ, 1, 16):
        raise FlowError(
            f"{path.name} is {rate_hz} Hz, {channels} channel(s), {bits} bit; needed are 16000 Hz, 1 channel, 16 bit",
            hint=hint,
        )
    return frames


def _wrong_order(utterances: Sequence[RecordedUtterance]) -> Iterator[tuple[int, str, str]]:
    """(index, message, hint) of each barge-in that has no answer to interrupt, or speaks over the one before it."""
    answering = False
    speaks_until = 0
    for number, utterance in enumerate(utterances):
        if utterance.barge_in is None:
            answering = False
        elif not answering:
            hint = "say `pause` instead, or put an utterance that `expects: answer` before it"
            yield number, "there is no answer to barge into", hint
        elif utterance.barge_in < speaks_until:
            hint = f"begin at {format_duration(-(-speaks_until // MS) * MS)} or later"
            yield number, "overlaps the utterance before it, which barges into the same answer", hint
        if utterance.expects == "answer":
            answering, speaks_until = True, 0
        elif utterance.barge_in is not None:
            speaks_until = utterance.barge_in + utterance.duration_ns


def _document(path: Path) -> Document:
    """The data of a conversation's YAML file, with places. Raises GraphError."""
    try:
        with path.open(encoding="utf-8") as file:
            document = parse(file.read(MAX_BYTES + 1), str(path), {})
        document.raise_problems()
    except OSError as error:
        hint = "name a conversation's YAML file, or a folder of WAV files"
        raise GraphError([Problem(f"can't read the conversation: {error.strerror}", hint, str(path))]) from None
    except UnicodeDecodeError:
        raise GraphError([Problem("this isn't a text file", "name a conversation's YAML file", str(path))]) from None
    except GraphError as error:
        raise GraphError([_of_conversations(problem) for problem in error.problems]) from None
    return document


def _of_conversations(problem: Problem) -> Problem:
    """The reader of YAML speaks of graphs."""

    def reworded(text: str) -> str:
        return text.replace("`nodes:` and `edges:`", "`utterances:`").replace("graph", "conversation")

    return dataclasses.replace(problem, message=reworded(problem.message), hint=reworded(problem.hint) or _MANUAL)


def _problem_of(error: Any, document: Document) -> Problem:
    """A pydantic error, as a sentence at its place."""
    path: DataPath = tuple(error["loc"])
    known = (RecordedUtterance if len(path) > 1 else Conversation).model_fields
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    match error["type"]:
        case "extra_forbidden":
            return document.problem(Spot(path, key=True), f"unknown key '{key}'", suggest(key, known))
        case "missing":
            return document.problem(path[:-1], f"'{key}' is missing", _MANUAL)
        case "model_type":
            hint = f"known: {', '.join(RecordedUtterance.model_fields)}"
            return document.problem(path, f"expected an utterance, found {document.found(path)}", hint)
        case _:
            message = str(error["msg"]).removeprefix("Value error, ")
            return document.problem(path, f"'{key}': {message}", _MANUAL)
