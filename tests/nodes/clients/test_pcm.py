from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgraph.errors import ServiceError
from nodes.clients.pcm import SampleReader, Trimmer

RATE_HZ = 24_000


def wav_header(*, kind: int = 1, channels: int = 1, rate_hz: int = 22_050, bits: int = 16) -> bytes:
    """As streaming servers write it: the sizes aren't known, and there may be chunks that nobody asked for."""
    form = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * channels * bits // 8, channels * bits // 8, bits)
    return (
        b"RIFF\xff\xff\xff\xffWAVEfmt "
        + struct.pack("<I", len(form))
        + form
        + b"LIST\x03\0\0\0abc\0data\xff\xff\xff\xff"
    )


def read(reader: SampleReader, *portions: bytes) -> np.ndarray:
    return np.concatenate([reader.feed(portion) for portion in portions])


@given(st.binary(max_size=60).filter(lambda data: data[:1] != b"R"), st.data())
def test_samples_survive_any_cut(data: bytes, draw: st.DataObject) -> None:
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=8)))
    portions = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    expected = np.frombuffer(data[: len(data) & ~1], "<i2") / 32768
    assert np.array_equal(read(SampleReader(RATE_HZ), *portions), expected.astype(np.float32))


def test_a_wav_stream_is_read_behind_its_header() -> None:
    reader = SampleReader(RATE_HZ)
    data = wav_header() + struct.pack("<3h", 1, -2, 3)
    assert np.array_equal(read(reader, *(bytes([byte]) for byte in data)) * 32768, [1, -2, 3])
    assert reader.rate_hz == 22_050


@pytest.mark.parametrize("header", [wav_header(channels=2), wav_header(bits=24), wav_header(kind=3, bits=32)])
def test_a_wav_stream_of_another_kind_is_an_error(header: bytes) -> None:
    with pytest.raises(ServiceError, match="16-bit mono"):
        SampleReader(RATE_HZ).feed(header)


def trimmed(samples: np.ndarray, block: int, keep_ms: float = 15) -> tuple[np.ndarray, Trimmer]:
    trimmer = Trimmer(rate_hz=RATE_HZ, keep_ms=keep_ms)
    parts = [trimmer.feed(samples[i : i + block]) for i in range(0, len(samples), block)]
    return np.concatenate([*parts, trimmer.end()]), trimmer


def padded(lead_ms: int, sound_ms: int, tail_ms: int) -> np.ndarray:
    silence = lambda ms: np.zeros(ms * 24, np.float32)  # noqa: E731
    return np.concatenate([silence(lead_ms), np.full(sound_ms * 24, 0.5, np.float32), silence(tail_ms)])


@pytest.mark.parametrize("block", [1, 100, 480, 100_000])
def test_little_silence_stays_at_both_ends(block: int) -> None:
    samples, trimmer = trimmed(padded(80, 30, 500), block)
    assert len(samples) == (15 + 30 + 15) * 24
    assert trimmer.cut == 65 * 24


@pytest.mark.parametrize("block", [1, 7, 480, 100_000])
def test_the_ends_are_faded_where_there_is_no_silence(block: int) -> None:
    samples, _ = trimmed(padded(0, 50, 0), block)
    assert len(samples) == 50 * 24
    assert samples[-1] == 0
    assert np.all(samples[24 * 10 : 24 * 40] == 0.5)
    assert samples[0] == 0
    assert np.all(np.diff(samples[:120]) > 0)


def test_a_pause_inside_stays_whole() -> None:
    sound = np.concatenate([padded(20, 30, 400), padded(0, 30, 100)])
    samples, _ = trimmed(sound, 240)
    assert len(samples) == (15 + 30 + 400 + 30 + 15) * 24


def test_a_long_pause_does_not_starve_the_listener() -> None:
    trimmer = Trimmer(rate_hz=RATE_HZ, keep_ms=15)
    given = sum(
        len(trimmer.feed(np.zeros(240, np.float32) if i else np.full(240, 0.5, np.float32))) for i in range(200)
    )
    assert given >= 200 * 240 - 600 * 24


def test_nothing_but_silence_is_nothing() -> None:
    samples, _ = trimmed(np.full(24_000, 0.001, np.float32), 480)
    assert len(samples) == 0
