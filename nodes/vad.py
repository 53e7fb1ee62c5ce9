"""Tells speech from silence: one probability per 32 ms of sound, the onsets, and how long the silence lasts.

1. The model is Silero's (v5 or v6), read from the data folder of the `silero-vad` wheel. The package itself is never
   imported: it would import torch, which takes seconds.
2. Sound arrives in blocks of any size and is judged in windows of 32 ms. A window's time is that of the block which holds its
   last sample, plus the samples before it there: no clock is read, and nothing drifts.
3. Hysteresis: a window at or above `threshold` may begin speech, one at or above `stop_threshold` goes on with it. Speech
   begins once it has lasted `min_speech`, and `SpeechStarted` names its first sample. It ends once the model has heard none
   for `min_silence`, or once it has been as quiet as the room is for `QUIET_NS`, in which the model often still hears speech;
   from then on `silence_ms` counts from the last voiced sample, so it begins at more than nothing. What is as quiet as the
   room behind speech begins none.
4. While speech may be beginning, `silence_ms` stands still: nobody should decide just then that the user is done. If it was
   only a click, the count goes on as if nothing had been.
5. The model knows the edges of speech to a few windows, the level knows them to 4 ms. The first voiced sample is where, near
   the model's edge, the level crosses a line between the noise floor and the loudness of the speech. The last one is the last
   that stands out from the silence behind it and isn't so faint that the speech is only fading there.
6. Sound that is missing (`lost`, or a jump of `at`) counts as more of what was before it: speech goes on, silence grows.
7. It decides no end of a turn: that is the business of the turn's owner.
"""

from __future__ import annotations

import asyncio
import importlib.util
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from flowgraph.errors import FlowError
from flowgraph.node import Node
from flowgraph.units import MS, SECOND, Duration
from nodes.vocabulary import Audio, SpeechStarted, Voice

if TYPE_CHECKING:
    from nodes.vocabulary import Samples

WINDOW_NS = 32 * MS
"""What the model judges at a time: 512 samples at 16 kHz, 256 at 8 kHz."""
CONTEXT_NS = 4 * MS
"""The end of the window before, which the model wants to see again."""
PIECES = 8
"""The level is measured in pieces of 4 ms."""
PIECE_NS = WINDOW_NS // PIECES
ONSET_WINDOWS = 4
"""The first voiced sample lies at most so many windows before the end of the first that the model hears speech in."""
END_WINDOWS = 8
"""The last one lies at most so many before the end of the last: Silero hears speech on for 30 to 120 ms, in noise for 180."""
LOUDNESS_WINDOWS = 16
FLOOR_WINDOWS = 94
"""The noise floor is the quietest piece of the last 3 s …"""
LOWEST_FLOOR_DBFS = -65.0
"""… and no lower than this: below it are dithering and digital silence."""
BRIDGED_PIECES = 4
"""Quiet that is no longer than this doesn't begin the speech anew."""
CLEAR_DB = 10.0
"""Speech less than this above the noise floor has no edge in the level: the model's is taken."""
LINE = 0.4
"""Where the line lies between the noise floor (0) and the loudness of the speech (1), in dB."""
FADED_DB = 25.0
"""What is so far below the loudest of the speech isn't voiced …"""
DISTINCT_DB = 6.0
"""… and neither is what is no further above the mean of the silence behind it: pieces of a noise differ by as much."""
QUIET_NS = 96 * MS
"""So much of the room's own level is the end of speech: the silence before a plosive is shorter."""
QUIET_DB = 5.0
"""The room's level: this above the noise floor, which is the quietest of many pieces, at most …"""
QUIET_CLEAR_DB = 20.0
"""… where speech was this far above it."""
SILENT_DBFS = -120.0

Model = Callable[[], float]
"""Judges what is in its input buffer (context and window); returns the probability of speech."""
Prepare = Callable[["Samples", int], Model]
"""Makes a model for an input buffer, float32, shape (1, context + window), and its rate in Hz."""


class Vad(Node):
    """Tells speech from silence (Silero VAD): a probability for every 32 ms of sound, and each onset."""

    threshold: float = Field(0.5, gt=0, lt=1, description="Probability at which speech may begin.")
    stop_threshold: float | None = Field(
        None, gt=0, lt=1, description="Below this probability speech may end; without, 0.15 below `threshold`."
    )
    min_speech: Duration = Field(64 * MS, description="What is shorter is a click, not speech.")
    min_silence: Duration = Field(32 * MS, description="Silence that is shorter belongs to the speech.")
    runtime: Literal["onnx", "torch"] = Field(
        "onnx", description="What runs the model. `torch` says the same, but takes seconds to load."
    )

    def problems(self) -> Iterator[str]:
        if self.stop_threshold is not None and self.stop_threshold > self.threshold:
            yield "stop_threshold is above threshold: speech would end as it begins; make it lower, or leave it out"

    async def open(self) -> None:
        load = _load_onnx if self.runtime == "onnx" else _load_torch
        self._prepare = await asyncio.to_thread(load)
        stop = self.threshold - 0.15 if self.stop_threshold is None else self.stop_threshold
        self._stop_threshold = max(stop, 0.01)
        self._rate_hz = 0
        """Of the sound, once there is some."""
        self._window_samples = 0
        self._filled = 0
        self._expected_at = 0
        self._speaking = False
        self._begun_ns = 0
        """How long the model has heard speech that isn't reported yet."""
        self._onset_at = 0
        """Where that speech begins."""
        self._ended_ns = 0
        """How long the model has heard no speech, while somebody speaks."""
        self._quiet_ns = 0
        """How long it has been as quiet as the room is."""
        self._last_voiced_at = 0
        self._pieces: deque[list[float]] = deque(maxlen=LOUDNESS_WINDOWS + max(self.min_silence, QUIET_NS) // WINDOW_NS)
        """The power of each piece of the last windows."""
        self._quietest: deque[float] = deque(maxlen=FLOOR_WINDOWS)

    async def close(self) -> None:
        self.__dict__.pop("_model", None)  # a model holds megabytes
        self.__dict__.pop("_prepare", None)

    def process(self, frame: Audio) -> Iterator[SpeechStarted | Voice]:
        if frame.rate_hz != self._rate_hz:
            self._begin(frame)
        elif frame.lost or abs(frame.at - self._expected_at) > WINDOW_NS:
            self._skip(frame.at)
        self._expected_at = frame.end_at
        samples, taken = frame.samples, 0
        while taken < len(samples):
            piece = samples[taken : taken + self._window_samples - self._filled]
            self._window[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            taken += len(piece)
            if self._filled == self._window_samples:
                yield from self._judge(frame.at + taken * SECOND // self._rate_hz)
                self._context[:] = self._window[-len(self._context) :]
                self._filled = 0

    # -- sound ---------------------------------------------------------------------------------------------------------

    def _begin(self, frame: Audio) -> None:
        """The first sound: now its rate is known."""
        import numpy as np

        if frame.rate_hz not in (16_000, 8_000) or self._rate_hz:
            found = f"sound at {frame.rate_hz} Hz" if not self._rate_hz else f"the rate changed to {frame.rate_hz} Hz"
            raise FlowError(
                f"it takes sound at 16000 Hz (or 8000) and got {found} from '{frame.source}'",
                hint=f"set rate_hz: 16000 at '{frame.source}', or put a `resample` node before '{self.ctx.name}'",
            )
        self._rate_hz = frame.rate_hz
        self._window_samples = frame.rate_hz * WINDOW_NS // SECOND
        context_samples = frame.rate_hz * CONTEXT_NS // SECOND
        buffer = np.zeros((1, context_samples + self._window_samples), np.float32)
        self._context, self._window = buffer[0, :context_samples], buffer[0, context_samples:]
        self._model = self._prepare(buffer, frame.rate_hz)
        self._last_voiced_at = frame.at

    def _skip(self, at: int) -> None:
        """Sound is missing before `at`."""
        self._filled = 0
        self._context[:] = 0
        self._pieces.clear()
        self._begun_ns = 0
        if self._speaking:
            self._last_voiced_at = at

    # -- the verdict on a window ---------------------------------------------------------------------------------------

    def _judge(self, at: int) -> Iterator[SpeechStarted | Voice]:
        """`at`: the end of the window."""
        probability = self._model()
        energies = (self._window * self._window).reshape(PIECES, -1).sum(1)
        powers = (energies / (self._window_samples // PIECES)).tolist()  # so few are faster outside numpy
        self._pieces.append(powers)
        self._quietest.append(min(powers))
        self._quiet_ns = self._quiet_ns + WINDOW_NS if self._is_quiet(powers) else 0
        if self._speaking:
            self._go_on(probability, at)
        elif not self._quiet_ns and probability >= (self._stop_threshold if self._begun_ns else self.threshold):
            if not self._begun_ns:
                self._onset_at = self._first_voiced(at)
            self._begun_ns += WINDOW_NS
            if self._begun_ns >= self.min_speech:
                yield SpeechStarted(probability, at=self._onset_at)
                self._speaking = True
                self._last_voiced_at, self._ended_ns = at, 0
        else:
            self._begun_ns = 0
        whole, end = sum(powers) / PIECES, sum(powers[PIECES // 2 :]) / (PIECES // 2)
        yield Voice(probability, self._silence_ns(at) // MS, self._speaking, _dbfs(whole), _dbfs(end), at=at)

    def _go_on(self, probability: float, at: int) -> None:
        if probability >= self._stop_threshold and self._quiet_ns < QUIET_NS:
            self._last_voiced_at, self._ended_ns = at, 0
            return
        self._ended_ns += WINDOW_NS
        if self._quiet_ns > self._ended_ns:
            self._last_voiced_at, self._ended_ns = at - self._quiet_ns, self._quiet_ns
        if self._ended_ns >= self.min_silence:
            self._speaking = False
            self._begun_ns = 0
            self._last_voiced_at = self._last_voiced()

    def _silence_ns(self, at: int) -> int:
        if self._speaking:
            return 0
        return max(0, (self._onset_at if self._begun_ns else at) - self._last_voiced_at)

    # -- the level -----------------------------------------------------------------------------------------------------

    def _is_quiet(self, powers: list[float]) -> bool:
        """Is a window as quiet as the room is, behind something much louder?"""
        floor = max(_dbfs(min(self._quietest)), LOWEST_FLOOR_DBFS)
        if _dbfs(sum(powers) / PIECES) > floor + QUIET_DB:
            return False
        return bool(self._quiet_ns) or _dbfs(max(map(max, self._pieces))) >= floor + QUIET_CLEAR_DB

    # -- the edges of speech, by level ---------------------------------------------------------------------------------

    def _loud(self) -> list[bool]:
        """Of each piece in the windows where speech may have begun: is it above the line? Empty where the level doesn't tell."""
        floor = max(_dbfs(min(self._quietest)), LOWEST_FLOOR_DBFS)
        loudest = _dbfs(max(map(max, self._pieces)))
        if loudest - floor < CLEAR_DB:
            return []
        line = 10 ** ((floor + LINE * (loudest - floor)) / 10)
        recent = list(self._pieces)[-ONSET_WINDOWS:]
        return [power > line for powers in recent for power in powers]

    def _first_voiced(self, at: int) -> int:
        """The start of the speech that the model begins to hear in the window which ends at `at`."""
        loud = self._loud()
        first = len(loud)
        for index in reversed(range(len(loud))):
            if loud[index]:
                first = index
            elif index < len(loud) - PIECES and first - index > BRIDGED_PIECES:
                break
        if first == len(loud):
            return at - WINDOW_NS
        return max(at - (len(loud) - first) * PIECE_NS, self._last_voiced_at)

    def _last_voiced(self) -> int:
        """The end of the speech whose last window, by the model, ends at `_last_voiced_at`."""
        windows = list(self._pieces)
        silent = self._ended_ns // WINDOW_NS
        silence = sum(map(sum, windows[-silent:])) / (silent * PIECES)
        loudest = max(map(max, windows))
        if _dbfs(loudest) - _dbfs(silence) < CLEAR_DB:
            return self._last_voiced_at
        line = max(loudest * 10 ** (-FADED_DB / 10), silence * 10 ** (DISTINCT_DB / 10))
        powers = [power for powers in windows[-silent - END_WINDOWS : -silent] for power in powers]
        for back, power in enumerate(reversed(powers)):
            if power > line:
                return self._last_voiced_at - back * PIECE_NS
        return self._last_voiced_at


def _dbfs(power: float) -> float:
    """0 dBFS is a mean square of 1."""
    return 10 * math.log10(power) if power > 1e-12 else SILENT_DBFS


# -- the model ---------------------------------------------------------------------------------------------------------


ONNX_ANY = "silero_vad.onnx"
"""In every wheel, for both rates."""
ONNX_16_KHZ = ("silero_vad_op18_ifless.onnx",)
"""The same in newer wheels, without the branch for 8 kHz: takes 10 MB less and loads in half the time."""


def _model_file(*names: str) -> Path:
    """The first of these files that the silero-vad wheel has, found without importing it. Raises FlowError if it has none."""
    spec = importlib.util.find_spec("silero_vad")
    for name in names:
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder) / "data" / name
            if path.is_file():
                return path
    raise FlowError(
        f"the wheel `silero-vad` has no model {names[-1]}" if spec else "the package `silero-vad` isn't installed",
        hint="pip install 'silero-vad>=6'",
    )


def _load_onnx() -> Prepare:
    """One thread, inline: a window takes a tenth of a millisecond, waking a pool takes longer."""
    import numpy as np

    try:
        import onnxruntime as ort
    except ImportError as error:
        raise FlowError(f"`runtime: onnx` can't be used: {error}", hint="pip install onnxruntime") from None
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors only: it warns of our one-thread pool on some machines
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of the weights, and no faster

    def load(*names: str) -> ort.InferenceSession:
        return ort.InferenceSession(str(_model_file(*names)), options, providers=["CPUExecutionProvider"])

    usual = load(*ONNX_16_KHZ, ONNX_ANY)

    def prepare(buffer: Samples, rate_hz: int) -> Model:
        session = usual if rate_hz == 16_000 else load(ONNX_ANY)
        rate = np.array(rate_hz, np.int64)
        states = [np.zeros((2, 1, 128), np.float32) for _ in range(2)]
        probability = np.zeros((1, 1), np.float32)

        def binding(before: Samples, after: Samples) -> ort.IOBinding:
            binding = session.io_binding()
            for name, array in (("input", buffer), ("state", before), ("sr", rate)):
                binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            for name, array in (("output", probability), ("stateN", after)):
                binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            return binding

        # The state goes to and fro between two arrays: nothing is allocated or copied per window.
        there, back = binding(*states), binding(*reversed(states))

        def judge() -> float:
            nonlocal there, back
            session.run_with_iobinding(there)
            there, back = back, there
            return float(probability[0, 0])

        # The bindings hold addresses only: these arrays live as long as the function.
        judge.__dict__["arrays"] = (buffer, states, rate)
        return judge

    return prepare


def _load_torch() -> Prepare:
    path = _model_file("silero_vad.jit")
    try:
        import torch
    except ImportError as error:
        raise FlowError(
            f"`runtime: torch` can't be used: {error}", hint="pip install torch, or take `runtime: onnx`"
        ) from None
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which is what the wheel holds
        model = torch.jit.load(str(path), map_location="cpu").eval()
    with torch.inference_mode():
        for _ in range(3):
            model(torch.zeros(1, 512), 16_000)  # it optimises itself in its first runs, which take 100 ms

    def prepare(buffer: Samples, rate_hz: int) -> Model:
        # The scripted model keeps the context itself, so it is given the window alone.
        model.reset_states()
        window = torch.from_numpy(buffer[:, rate_hz * CONTEXT_NS // SECOND :])

        def judge() -> float:
            with torch.inference_mode():
                return float(model(window, rate_hz).item())

        return judge

    return prepare
