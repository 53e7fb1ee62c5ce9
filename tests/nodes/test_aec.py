"""In a synthetic room, on virtual time: what the canceller takes away, what it leaves, and when it says that was."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from flowgraph.errors import GraphError, NodeFailed
from flowgraph.frame import Frame
from flowgraph.graph import Graph
from flowgraph.testing import run_node
from nodes.aec import LEAD_NS, PATIENCE_NS, Aec
from nodes.sound.resampling import resampled
from nodes.vocabulary import Audio, DoubleTalk, Played
from tests.rooms import RATE_HZ, Samples, dbfs, recorded, response, through

MS, SECOND = 1_000_000, 1_000_000_000
START = 5 * SECOND
SPEAKER_HZ = 24_000
DELAY = 128
ANSWER = ("2-time", "4-recall", "6-story", "3-product", "1-name", "8-bye")
QUESTION = ("5-date", "7-stop", "5-date")
LEARNT = 4 * RATE_HZ
"""After so much of the answer the room is known."""


def answer() -> Samples:
    sound = recorded(*ANSWER)
    return sound[: len(sound) // 320 * 320]


def noise(count: int, dbfs: float = -75.0) -> Samples:
    return (np.random.default_rng(1).standard_normal(count) * 10 ** (dbfs / 20)).astype(np.float32)


def captured(sound: Samples, *, rate_hz: int = RATE_HZ, block_ms: int = 20, at: int = START) -> Iterator[Audio]:
    size = rate_hz * block_ms // 1000
    for begin in range(0, len(sound), size):
        yield Audio(sound[begin : begin + size], rate_hz, at=at + begin * SECOND // rate_hz)


def played(sound: Samples, *, rate_hz: int = SPEAKER_HZ, at: int = START) -> Iterator[Played]:
    size = rate_hz // 100
    for begin in range(0, len(sound), size):
        yield Played(sound[begin : begin + size], rate_hz, at=at + begin * SECOND // rate_hz)


def together(
    heard: Iterable[Audio], reference: Iterable[Played] = (), *, known_ahead_ms: int = 40, late_ms: int = 1
) -> list[Frame | float]:
    """In the order in which they come, with the pauses between: sound is told after it was captured, and before it is heard.

    Where the loop is always late, what came in `late_ms` comes at once, first the microphone's.
    """
    told: list[tuple[int, int, Frame]] = [(frame.end_at, 0, frame) for frame in heard]
    told += [(frame.end_at - known_ahead_ms * MS, 1, frame) for frame in reference]
    late = late_ms * MS
    told.sort(key=lambda one: (-(-one[0] // late), one[1], one[0]))
    frames: list[Frame | float] = []
    now = told[0][0]
    for at, _, frame in told:
        if (due := -(-at // late) * late) > now:
            frames.append((due - now) / SECOND)
            now = due
        frames.append(frame)
    return frames


def cleaned(heard: Samples, speaker: Samples, **options: bool) -> Samples:
    """What comes out, aligned with what went in: the first sample out is in its place, silence before it."""
    frames = together(captured(heard), played(resampled(speaker, RATE_HZ, SPEAKER_HZ)))
    out = [frame for frame in run_node(Aec(**options), frames) if isinstance(frame, Audio)]
    sound = np.zeros(len(heard), np.float32)
    for frame in out:
        begin = round((frame.at - START) * RATE_HZ / SECOND)
        sound[begin : begin + len(frame.samples)] = frame.samples
    return sound


# -- what it does ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [1, 20, 150])
def test_an_echo_is_30_db_quieter_once_the_room_is_known(delay_ms: int) -> None:
    """At −20 dB, with a reverberation of 250 ms. Measured: 34 to 36 dB, which is the noise of the room."""
    speaker = answer()
    echo = through(speaker, response(loss_db=20, delay_ms=delay_ms))

    clean = cleaned(echo + noise(len(echo)), speaker)

    assert dbfs(echo[LEARNT:]) > -45
    assert dbfs(clean[LEARNT:]) - dbfs(echo[LEARNT:]) < -30


def test_even_its_loudest_moments_are_inaudible() -> None:
    speaker = answer()
    echo = through(speaker, response(loss_db=20, delay_ms=20))

    clean = cleaned(echo + noise(len(echo)), speaker)[LEARNT:]

    loudest = max(dbfs(window) for window in clean[: len(clean) // 160 * 160].reshape(-1, 160))
    assert loudest < -60


def test_devices_may_state_20_ms_more_than_they_have() -> None:
    """Then the echo seems to come before what made it."""
    speaker = answer()
    echo = through(speaker, response(loss_db=20))
    early = np.concatenate((echo[RATE_HZ * 20 // 1000 :], np.zeros(RATE_HZ * 20 // 1000, np.float32)))

    clean = cleaned(early + noise(len(early)), speaker)

    assert dbfs(clean[LEARNT:]) - dbfs(echo[LEARNT:]) < -30


def test_noise_suppression_lowers_what_is_left() -> None:
    speaker = answer()
    heard = through(speaker, response(loss_db=20, delay_ms=20)) + noise(len(speaker), -60)

    assert dbfs(cleaned(heard, speaker, noise_suppression=True)[LEARNT:]) < dbfs(cleaned(heard, speaker)[LEARNT:]) - 8


def double_talk(user_db: float) -> tuple[Samples, Samples]:
    """The user's speech alone, and what is left of it where the answer plays meanwhile: both as they come out."""
    speaker = answer()
    user = np.zeros(len(speaker), np.float32)
    speech = recorded(*QUESTION) * 10 ** (user_db / 20)
    user[LEARNT : LEARNT + len(speech)] = speech
    echo = through(speaker, response(loss_db=20, delay_ms=20))
    alone = cleaned(user + noise(len(user)), np.zeros_like(speaker))
    talk = cleaned(user + echo + noise(len(user)), speaker)
    said = slice(LEARNT, LEARNT + len(speech))
    return alone[said], talk[said]


@pytest.mark.parametrize(("user_db", "lost_db", "snr_db"), [(0, 2.5, 6), (-12, 5, 2.5)])
def test_the_users_speech_is_kept_while_the_answer_plays(user_db: float, lost_db: float, snr_db: float) -> None:
    """The user is 19 dB louder than the echo, or 7. Measured: 1.7 dB are lost at 8 dB, 3.5 dB at 3.5.

    It is the hardest case: the same voice says both, without a pause.
    """
    alone, talk = double_talk(user_db)
    share = float(alone @ talk / (alone @ alone))

    assert dbfs(alone) - dbfs(talk) < lost_db
    assert dbfs(share * alone) - dbfs(talk - share * alone) > snr_db


def test_without_an_echo_the_sound_passes_as_it_is() -> None:
    """But for what is below 100 Hz, and the phase of what is low."""
    user = recorded(*QUESTION)
    clean = cleaned(user, np.zeros_like(user))

    loud = np.abs(np.fft.rfft(clean))[len(user) * 150 // RATE_HZ :]
    assert np.sum(loud**2) == pytest.approx(
        np.sum(np.abs(np.fft.rfft(user))[len(user) * 150 // RATE_HZ :] ** 2), rel=0.2
    )


# -- when it says that was ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [320, 288, 97])
def test_sound_leaves_with_the_frame_that_brought_it_but_for_the_cancellers_own_delay(first: int) -> None:
    """Also where the first frame is shorter, as behind a converter of rates."""
    sound = noise(first + 48 * 320, -30)
    frames = [Audio(sound[:first], RATE_HZ, at=START)]
    frames += list(captured(sound[first:], at=START + first * SECOND // RATE_HZ))
    out = run_node(Aec(), frames)

    assert [frame.cause for frame in out] == sorted(frame.cause_id for frame in out)
    assert sum(len(frame.samples) for frame in out if isinstance(frame, Audio)) == len(sound) - DELAY
    assert out[0].at == START
    for one, following in itertools.pairwise(out):
        assert isinstance(one, Audio)
        assert following.at == pytest.approx(one.end_at, abs=2)
    assert all(len(frame.samples) == 320 for frame in out[2:] if isinstance(frame, Audio))
    assert out[-1].cause == frames[-1].id


def test_each_sample_keeps_its_time() -> None:
    """A click is where it was: what is stamped is the capture, however long the canceller took."""
    sound = np.zeros(RATE_HZ, np.float32)
    sound[7777] = 0.9

    assert abs(int(np.argmax(np.abs(cleaned(sound, np.zeros_like(sound))))) - 7777) <= 1


@pytest.mark.parametrize("lost", [0, 3])
def test_a_gap_stays_a_gap(lost: int) -> None:
    """Told by `lost`, or by the time alone."""
    sound = noise(RATE_HZ, -30)
    before = list(captured(sound[:6400]))
    after = list(captured(sound[6400:], at=START + 460 * MS))
    after[0] = after[0].restamped(lost=lost)

    out = [frame for frame in run_node(Aec(), [*before, *after]) if isinstance(frame, Audio)]

    [gap] = [i for i, (one, two) in enumerate(itertools.pairwise(out)) if two.at - one.end_at > 2]
    assert START + 400 * MS - out[gap].end_at == DELAY * SECOND // RATE_HZ, "the canceller's last milliseconds are lost"
    assert out[gap + 1].at == START + 460 * MS
    assert [frame.lost for frame in out] == [lost if i == gap + 1 else 0 for i in range(len(out))]


def test_a_stream_that_goes_on_after_a_gap_is_cancelled_as_before() -> None:
    speaker = answer()
    echo = through(speaker, response(loss_db=20, delay_ms=20)) + noise(len(speaker))
    heard = [frame for frame in captured(echo) if not 6 <= (frame.at - START) / SECOND < 6.3]
    reference = played(resampled(speaker, RATE_HZ, SPEAKER_HZ))

    out = run_node(Aec(), together(heard, list(reference)))

    later = [frame.samples for frame in out if isinstance(frame, Audio) and frame.at >= START + 6 * SECOND]
    assert dbfs(np.concatenate(later)) - dbfs(echo[6 * RATE_HZ :]) < -28


class Patient(Aec):
    """Tells how long each frame waited."""

    def process(self, frame: Audio | Played) -> Iterator[Audio]:
        self.__dict__.setdefault("came", {})[frame.at] = self.ctx.clock.now()
        return super().process(frame)

    def _cleaned(self, frame: Audio) -> Iterator[Audio]:
        waited_ns = self.ctx.clock.now() - self.__dict__["came"][frame.at]
        self.__dict__.setdefault("waited", []).append(waited_ns / MS)
        return super()._cleaned(frame)

    @property
    def waited_ms(self) -> list[float]:
        return self.__dict__["waited"]  # type: ignore[no-any-return]


# -- its reference ------------------------------------------------------------------------------------------------------


def test_without_a_reference_the_sound_passes_at_once() -> None:
    sound = noise(RATE_HZ, -30)

    out = run_node(Aec(), list(captured(sound)))

    assert len(out) == 50
    assert dbfs(np.concatenate([frame.samples for frame in out if isinstance(frame, Audio)])) == pytest.approx(
        -30, abs=1
    )


def test_a_reference_that_ends_lets_the_sound_pass() -> None:
    sound = noise(2 * RATE_HZ, -30)
    reference = list(played(np.zeros(SPEAKER_HZ, np.float32)))

    out = run_node(Aec(), together(list(captured(sound)), reference))

    assert isinstance(out[-1], Audio)
    assert out[-1].end_at == START + 2 * SECOND - DELAY * SECOND // RATE_HZ


@pytest.mark.parametrize("late_ms", [40, 160])
def test_a_frame_waits_for_a_reference_that_comes_a_moment_later(late_ms: int) -> None:
    """As where the loop is late: both are there, in the wrong order."""
    speaker = answer()
    echo = through(speaker, response(loss_db=20, delay_ms=20)) + noise(len(speaker))
    reference = played(resampled(speaker, RATE_HZ, SPEAKER_HZ))

    out = run_node(Aec(), together(captured(echo), reference, late_ms=late_ms))

    left = np.concatenate([frame.samples for frame in out if isinstance(frame, Audio)])
    assert dbfs(left[LEARNT:]) - dbfs(echo[LEARNT:]) < -30


@pytest.mark.parametrize("behind_ms", [0, 30, 90])
def test_the_microphone_never_waits_longer_than_for_one_more_frame(behind_ms: int) -> None:
    """Also where the reference of a moment always comes too late."""
    sound = noise(RATE_HZ, -30)
    reference = played(np.zeros(2 * SPEAKER_HZ, np.float32))
    node = Patient()

    run_node(node, together(captured(sound), reference, known_ahead_ms=-behind_ms))

    assert len(node.waited_ms) == 50
    assert max(node.waited_ms) <= PATIENCE_NS / MS + 10, "until the next block of either comes"
    assert behind_ms or max(node.waited_ms[2:]) == 0
    assert node._lead < 0


def test_a_reference_that_is_known_ahead_is_taken_early() -> None:
    node = Patient()
    run_node(node, together(captured(noise(RATE_HZ)), played(np.zeros(2 * SPEAKER_HZ, np.float32))))

    assert node._lead == LEAD_NS
    assert max(node.waited_ms) == 0, "and nothing waits for it"


# -- what can go wrong ---------------------------------------------------------------------------------------------------


def test_a_rate_that_webrtc_does_not_take_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(NodeFailed, match="got 44100 Hz") as caught:
        run_node(Aec(), list(captured(noise(4410), rate_hz=44_100)))

    assert "resample" in str(caught.value)


def test_a_rate_that_changes_is_an_error() -> None:
    with pytest.raises(NodeFailed, match="changed from 16000 to 8000 Hz"):
        run_node(Aec(), [*captured(noise(320)), *captured(noise(160), rate_hz=8_000)])


@pytest.mark.alone
def test_a_frame_costs_less_than_a_millisecond() -> None:
    """20 ms of sound, while an answer plays. The fastest tenth: a busy machine is no slower canceller."""
    speaker = answer()
    frames = together(list(captured(speaker)), list(played(resampled(speaker, RATE_HZ, SPEAKER_HZ))))
    took: list[float] = []

    class Timed(Aec):
        def process(self, frame: Audio | Played) -> Iterator[Audio]:
            begin = time.perf_counter()
            out = list(super().process(frame))
            if out:
                took.append((time.perf_counter() - begin) / len(out))
            yield from out

    run_node(Timed(), frames)

    assert len(took) > 400
    assert float(np.quantile(took, 0.1)) < 0.001


def test_a_graph_that_gives_it_no_reference_is_wrong() -> None:
    graph = "nodes: {mic: {type: mic}, aec: {type: aec}, vad: {type: vad}, out: {type: printer}}\nedges: [mic -> aec -> vad -> out]"

    with pytest.raises(GraphError, match="nothing feeds 'aec' the Played that it needs"):
        Graph.from_text(graph)


def test_it_tells_of_sound_beside_the_echo_by_the_time_of_its_capture() -> None:
    speaker = answer()
    heard = through(speaker, response(loss_db=20, delay_ms=10)) + noise(len(speaker))
    begin = 6 * RATE_HZ
    speech = recorded("7-stop")
    heard[begin : begin + len(speech)] += speech
    frames = together(captured(heard), played(resampled(speaker, RATE_HZ, SPEAKER_HZ)))
    told = [frame.at for frame in run_node(Aec(), frames) if isinstance(frame, DoubleTalk)]
    voiced_at = START + begin * SECOND // RATE_HZ + 100 * MS

    assert voiced_at < told[0] <= voiced_at + 50 * MS
    assert told == sorted(told)
