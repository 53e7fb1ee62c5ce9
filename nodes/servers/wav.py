"""WAV, read tolerantly and written plainly: the two things that both speech servers need of it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN_SIZE = 0xFFFFFFFF


class NotWav(ValueError):
    """The bytes are no WAV file that can be read; the message says why."""


def header(rate_hz: int, data_bytes: int | None = None) -> bytes:
    """The 44 bytes before s16le mono samples; None: the length is not known yet (a stream), sizes are 0xFFFFFFFF."""
    size = UNKNOWN_SIZE if data_bytes is None else data_bytes
    riff = UNKNOWN_SIZE if data_bytes is None else data_bytes + 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", 16, PCM, 1, rate_hz, rate_hz * 2, 2, 16, b"data", size
    )


def read(data: bytes) -> tuple[npt.NDArray[np.float32], int]:
    """Samples, float32, shape (n,), channels mixed down, in [-1, 1]; and their rate in Hz.

    Takes PCM of 8, 16, 24 and 32 bits and float of 32 and 64; a cut or streamed file (sizes that lie) is read as far
    as it goes. Raises NotWav.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise NotWav("it does not begin with RIFF and WAVE")
    place, form = 12, None
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        body = data[place + 8 : place + 8 + size]
        if name == b"fmt ":
            form = _format(body)
        elif name == b"data":
            if form is None:
                raise NotWav("its samples come before their format")
            return _samples(body, *form)
        place += 8 + size + size % 2
    raise NotWav("it has no samples")


def _format(body: bytes) -> tuple[int, int, int, int]:
    """Encoding, channels, rate in Hz, bits."""
    if len(body) < 16:
        raise NotWav("its format is cut off")
    encoding, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if encoding == EXTENSIBLE and len(body) >= 26:
        encoding = int.from_bytes(body[24:26], "little")
    if not 1 <= channels <= 32:
        raise NotWav(f"it has {channels} channels")
    if not 1000 <= rate_hz <= 768_000:
        raise NotWav(f"its rate is {rate_hz} Hz")
    if (encoding, bits) not in {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}:
        raise NotWav(f"its encoding is {encoding} with {bits} bits; PCM (8, 16, 24, 32) and float (32, 64) can be read")
    return encoding, channels, rate_hz, bits


def _samples(body: bytes, encoding: int, channels: int, rate_hz: int, bits: int) -> tuple[npt.NDArray[np.float32], int]:
    import numpy as np

    body = body[: len(body) - len(body) % (channels * bits // 8)]
    found: npt.NDArray[np.floating[Any]]
    if encoding == FLOAT:
        found = np.nan_to_num(np.frombuffer(body, f"<f{bits // 8}").astype(np.float32))
    elif bits == 8:
        found = (np.frombuffer(body, np.uint8).astype(np.float32) - 128) / 128
    elif bits == 24:
        wide = np.zeros((len(body) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
        found = wide.view("<i4").ravel().astype(np.float32) / 2**31
    else:
        found = np.frombuffer(body, f"<i{bits // 8}").astype(np.float32) / 2 ** (bits - 1)
    return found.reshape(-1, channels).mean(axis=1).clip(-1, 1).astype(np.float32), rate_hz
