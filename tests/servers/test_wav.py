from __future__ import annotations

import contextlib
import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.servers.wav import FLOAT, NotWav, header, read

TONE = np.sin(np.arange(1000) / 10) * 0.5


def wav(
    samples: bytes, *, bits: int = 16, channels: int = 1, rate_hz: int = 16_000, encoding: int = 1, before: bytes = b""
) -> bytes:
    frame = channels * bits // 8
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, encoding, channels, rate_hz, rate_hz * frame, frame, bits)
    data = form + before + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", len(data) + 4, b"WAVE") + data


@pytest.mark.parametrize(
    ("bits", "encoding", "samples"),
    [
        (8, 1, (TONE * 128 + 128).astype(np.uint8).tobytes()),
        (16, 1, (TONE * 2**15).astype("<i2").tobytes()),
        (24, 1, b"".join(struct.pack("<i", int(value * 2**31))[1:] for value in TONE)),
        (32, 1, (TONE * 2**31).astype("<i4").tobytes()),
        (32, 3, TONE.astype("<f4").tobytes()),
        (64, 3, TONE.astype("<f8").tobytes()),
    ],
)
def test_every_usual_encoding_is_read(bits: int, encoding: int, samples: bytes) -> None:
    found, rate_hz = read(wav(samples, bits=bits, encoding=encoding, rate_hz=44_100))

    assert rate_hz == 44_100
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, TONE, atol=1 / 100)


def test_channels_are_mixed_down() -> None:
    stereo = np.stack([TONE, -TONE], axis=1)

    found, _ = read(wav((stereo * 2**15).astype("<i2").tobytes(), channels=2))

    assert len(found) == len(TONE)
    assert np.abs(found).max() < 1e-3


def test_other_chunks_are_passed_over() -> None:
    found, _ = read(wav(b"\1\0" * 5, before=b"LIST" + struct.pack("<I", 3) + b"abc\0"))

    assert len(found) == 5


def test_an_extensible_header_names_its_encoding_further_back() -> None:
    form = struct.pack("<HHIIHHHHIH14x", 0xFFFE, 1, 8000, 32_000, 4, 32, 22, 32, 4, FLOAT)
    data = struct.pack("<4sI", b"fmt ", len(form)) + form + struct.pack("<4sI", b"data", 4) + struct.pack("<f", 0.25)

    assert read(b"RIFF\0\0\0\0WAVE" + data)[0].tolist() == [0.25]


def test_a_stream_whose_size_was_not_known_is_read_to_its_end() -> None:
    found, rate_hz = read(header(24_000) + b"\0\1" * 7 + b"\0")

    assert (len(found), rate_hz) == (7, 24_000)


def test_what_is_written_is_a_wav_file_for_everybody() -> None:
    with wave.open(io.BytesIO(header(24_000, 20) + bytes(20))) as file:
        assert file.getparams()[:4] == (1, 2, 24_000, 10)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "RIFF"),
        (b"ID3 this is an mp3", "RIFF"),
        (wav(b"", bits=12), "12 bits"),
        (wav(b"", encoding=2), "encoding is 2"),
        (wav(b"", channels=0), "0 channels"),
        (wav(b"", rate_hz=0), "0 Hz"),
        (wav(b"")[:30], "cut off"),
        (wav(b"")[:36], "no samples"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "before their format"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, why: str) -> None:
    with pytest.raises(NotWav, match=why):
        read(data)


@given(st.binary(), st.integers(0, 60))
def test_no_bytes_break_it(junk: bytes, place: int) -> None:
    whole = bytearray(wav(b"\0\1\2\3"))
    whole[place : place + len(junk)] = junk
    for data in (junk, bytes(whole), b"RIFF\0\0\0\0WAVE" + junk):
        with contextlib.suppress(NotWav):
            samples, rate_hz = read(data)
            assert samples.ndim == 1
            assert rate_hz > 0
