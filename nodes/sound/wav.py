"""WAV files: read as mono float32, written as 16 bit."""

from __future__ import annotations

import contextlib
import os
import wave
from pathlib import Path
from typing import TYPE_CHECKING

from flowgraph.errors import DeviceError
from flowgraph.files import is_stream, unwritable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

CONVERT = "convert it: ffmpeg -i {name} -ac 1 -ar 16000 -c:a pcm_s16le NEW.wav"
REPAIR = "have it written again, or keep what is there: ffmpeg -ignore_length 1 -i {name} -c copy NEW.wav"
LEAST_HEADER = 44
"""Bytes before the samples."""
LEAST_SPACE = 1 << 16
"""Bytes: a second or two of sound."""
UNKNOWN_BYTES = 0x7FFF_0000
"""Who writes a WAV file into a pipe can't know its length: ffmpeg states 0xFFFFFFFF then, sox 0x7FFFF000 or so."""


class WavSource:
    """A WAV file of whole-number samples (8 to 32 bit, any channels), read block by block. Raises DeviceError."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = wave.open(str(self.path), "rb")  # noqa: SIM115 (closed by close())
        except OSError as error:
            raise DeviceError(f"can't read {path}: {error.strerror}", hint="name a WAV file that is there") from None
        except (wave.Error, EOFError) as error:
            what = str(error) or "it is cut short"
            hint = CONVERT.format(name=self.path.name)
            raise DeviceError(f"{path} isn't a WAV file of whole-number samples: {what}", hint=hint) from None
        self.rate_hz: int = self._file.getframerate()
        self.length: int = self._file.getnframes()
        """Samples of one channel."""
        self._width = self._file.getsampwidth()
        self.channels: int = self._file.getnchannels()
        if self.rate_hz <= 0:
            self.close()
            hint = CONVERT.format(name=self.path.name)
            raise DeviceError(f"{path} isn't a WAV file that can be played: {self.rate_hz} samples a second", hint=hint)
        if not is_stream(self.path):
            self._check_length()

    def _check_length(self) -> None:
        size = self._width * self.channels
        there = max(self.path.stat().st_size - LEAST_HEADER, 0) // size
        if self.length * size >= UNKNOWN_BYTES:
            self.length = there
        hint = REPAIR.format(name=self.path.name)
        if self.length > there:
            self.close()
            said, found = self.length / self.rate_hz, there / self.rate_hz
            raise DeviceError(
                f"{self.path} is cut short: its header says {said:.1f} s, {found:.1f} s are there", hint=hint
            )

    def read(self, samples: int) -> Samples:
        """The next samples, all channels mixed into one: float32, shape (n,); n is less at the end of the file."""
        import numpy as np

        values = self.read_channels(samples)
        return values[:, 0] if self.channels == 1 else values.mean(axis=1, dtype=np.float32)

    def read_channels(self, samples: int) -> Samples:
        """The next samples: float32, shape (n, channels); n is less at the end of the file."""
        import numpy as np

        data = self._file.readframes(samples)
        data = data[: len(data) - len(data) % (self._width * self.channels)]
        match self._width:
            case 1:
                values = (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
            case 2:
                values = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
            case 3:
                padded = np.zeros((len(data) // 3, 4), np.uint8)
                padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
                values = padded.view("<i4")[:, 0].astype(np.float32) / np.float32(1 << 31)
            case _:
                values = np.frombuffer(data, "<i4").astype(np.float32) / np.float32(1 << 31)
        return values.reshape(-1, self.channels)

    def close(self) -> None:
        """Release the file."""
        self._file.close()


def require_readable(path: str | Path) -> None:
    """Before anything starts: is it a WAV file that can be read, with sound in it? Raises DeviceError. What comes by a pipe isn't touched."""
    if is_stream(path):
        return
    source = WavSource(path)
    source.close()
    if not source.length and Path(path).stat().st_size > LEAST_HEADER + source.rate_hz:
        hint = REPAIR.format(name=source.path.name)
        raise DeviceError(f"{path} was never completed: its header says that nothing is in it", hint=hint)
    if not source.length:
        raise DeviceError(f"{path} holds no sound", hint="name a WAV file with something in it")


def require_writable(path: str | Path) -> None:
    """Before anything starts: can a `WavTarget` be there? Raises DeviceError."""
    if why := unwritable(path, whole=True):
        raise DeviceError(f"can't write {path}: {why}", hint="name a file in a folder that is there and may be written")


class WavTarget:
    """A 16-bit WAV file that appears under its name when it is complete. Raises DeviceError.

    Until then it is PATH.part: nobody finds half a file, and an older one stays until there is a new one. Where PATH is a link, that
    is so for the file that it leads to.
    """

    def __init__(self, path: str | Path, rate_hz: int = 0, *, channels: int = 1) -> None:
        """`rate_hz`: 0 = `set_rate` comes before the first `write`."""
        self.path = Path(path)
        self.rate_hz = 0
        require_writable(path)
        self._whole = Path(os.path.realpath(path))
        self._part: Path | None = self._whole.with_name(self._whole.name + ".part")
        try:
            self._raw = self._part.open("wb")
        except OSError as error:
            hint = "name a file in a folder that is there and may be written"
            raise DeviceError(f"can't write {path}: {error.strerror}", hint=hint) from None
        self._require_space()
        # Not by its path: where that fails, wave leaves an object that complains when it is collected.
        self._file = wave.open(self._raw)  # noqa: SIM115 (closed by save())
        self._file.setnchannels(channels)
        self._file.setsampwidth(2)
        self.set_rate(rate_hz)

    def _require_space(self) -> None:
        """A disk that is full already is told now, and not when an hour has been recorded."""
        try:
            self._raw.write(bytes(LEAST_SPACE))
            self._raw.flush()
            self._raw.seek(0)
            self._raw.truncate()
        except OSError as error:
            with contextlib.suppress(OSError):  # what is left to write fails again
                self._raw.close()
            assert self._part is not None
            self._part.unlink(missing_ok=True)
            raise DeviceError(f"can't write {self.path}: {error.strerror}", hint="is the disk full?") from None

    def set_rate(self, rate_hz: int) -> None:
        """State the rate, once, before the first `write`."""
        self.rate_hz = rate_hz
        self._file.setframerate(rate_hz or 16_000)

    def write(self, samples: Samples) -> None:
        """Append float32 samples in [-1, 1], shape (n,) or (n, channels); what is louder is clipped."""
        import numpy as np

        try:
            self._file.writeframesraw(np.round(np.clip(samples, -1, 1) * np.float32(32767)).astype("<i2").tobytes())
        except OSError as error:
            raise DeviceError(f"can't write {self.path}: {error.strerror}", hint="is the disk full?") from None

    def save(self) -> None:
        """Write the header and give the file its name. Once; later calls do nothing."""
        if self._part is None:
            return
        try:
            try:
                self._file.close()
            finally:
                self._raw.close()
            self._part.replace(self._whole)
        except OSError as error:
            hint = f"is the disk full? what there is of it is in {self._part}"
            raise DeviceError(f"can't write {self.path}: {error.strerror}", hint=hint) from None
        finally:
            self._part = None

    def discard(self) -> None:
        """Leave no file, instead of `save`."""
        if self._part is not None:
            for file in (self._file, self._raw):
                with contextlib.suppress(OSError):  # a full disk
                    file.close()
            self._part.unlink(missing_ok=True)
            self._part = None
