from __future__ import annotations

import contextlib
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from flowgraph.errors import DeviceError
from nodes.sound.wav import WavSource, WavTarget, require_readable

RAMP = np.linspace(-0.9, 0.9, 800, dtype=np.float32)


def write(path: Path, width: int, channels: int = 1) -> Path:
    scaled = (RAMP * 2 ** (8 * width - 1)).astype(np.int64) + (128 if width == 1 else 0)
    raw = scaled.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :width]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(16_000)
        file.writeframes(np.repeat(raw, channels, axis=0).tobytes())
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_of_any_width_are_read_as_mono(tmp_path: Path, width: int, channels: int) -> None:
    source = WavSource(write(tmp_path / "a.wav", width, channels))
    samples = np.concatenate([source.read(300), source.read(300), source.read(300), source.read(300)])
    source.close()

    assert (source.rate_hz, source.length, len(samples)) == (16_000, 800, 800)
    assert samples == pytest.approx(RAMP, abs=2 ** (2 - 8 * width))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a sound"])
def test_what_is_no_wav_file_is_told_how_to_convert_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DeviceError, match="isn't a WAV file") as caught:
        WavSource(tmp_path / "a.wav")
    assert "ffmpeg -i a.wav" in caught.value.hint


def test_a_file_that_is_cut_short_is_told_by_how_much(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 2)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 400])

    with pytest.raises(DeviceError, match=r"a\.wav is cut short: its header says 0\.1 s, 0\.0 s are there") as caught:
        WavSource(path)
    assert "ffmpeg -ignore_length 1 -i a.wav" in caught.value.hint


def test_a_file_without_a_rate_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", 2)
    content = bytearray(path.read_bytes()[:100])
    content[24:28] = bytes(4)
    path.write_bytes(content)

    with pytest.raises(DeviceError, match=r"a\.wav isn't a WAV file that can be played: 0 samples a second"):
        WavSource(path)


def test_a_file_without_sound_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    WavTarget(path, 16_000).save()

    with pytest.raises(DeviceError, match=r"a\.wav holds no sound"):
        require_readable(path)


def _stating(path: Path, length: int) -> Path:
    """The same file, had its writer not known its length, or not come to state it."""
    content = bytearray(path.read_bytes() + bytes(48_000))
    content[40:44] = length.to_bytes(4, "little")
    content[4:8] = min(length + 36, 0xFFFF_FFFF).to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_a_file_that_was_never_completed_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"a\.wav was never completed: its header says that nothing is in it"):
        require_readable(_stating(write(tmp_path / "a.wav", 2), 0))


@pytest.mark.parametrize("length", [0xFFFF_FFFF, 0x7FFF_F000], ids=["ffmpeg", "sox"])
def test_a_file_from_a_pipe_is_as_long_as_it_is(tmp_path: Path, length: int) -> None:
    source = WavSource(_stating(write(tmp_path / "a.wav", 2), length))

    assert source.length == 800 + 24_000
    assert len(source.read(30_000)) == 24_800
    source.close()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"can't read .*gone\.wav"):
        WavSource(tmp_path / "gone.wav")


def test_a_written_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"the one before")
    target = WavTarget(path, 16_000)
    target.write(RAMP)
    assert path.read_bytes() == b"the one before"
    target.save()
    target.save()

    assert WavSource(path).read(1000) == pytest.approx(RAMP, abs=1e-4)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    target = WavTarget(tmp_path / "a.wav", 16_000)
    target.write(np.array([2.0, -2.0], np.float32))
    target.save()

    assert WavSource(tmp_path / "a.wav").read(2) == pytest.approx([1, -1], abs=1e-4)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="can't write") as caught:
        WavTarget(tmp_path / "no" / "a.wav", 16_000)
    assert "folder" in caught.value.hint
    with pytest.raises(DeviceError, match="it is a folder"):
        WavTarget(tmp_path, 16_000)


needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")


@needs_full_disk
@pytest.mark.parametrize("seconds", [0.01, 1.0])
def test_where_the_disk_fills_up_what_there_is_stays_and_is_named(tmp_path: Path, seconds: float) -> None:
    target, part = tmp_path / "a.wav", tmp_path / "a.wav.part"
    file = _filling_up(target)

    with contextlib.suppress(DeviceError):  # told now, or where it comes out of the buffer
        file.write(np.zeros(round(16_000 * seconds), np.float32))
    with pytest.raises(DeviceError, match=r"a\.wav: No space left on device") as caught:
        file.save()
    file.save()

    assert str(part) in caught.value.hint
    assert part.exists()
    assert not target.exists()

    file = _filling_up(target)
    with contextlib.suppress(DeviceError):
        file.write(np.zeros(round(16_000 * seconds), np.float32))
    file.discard()

    assert list(tmp_path.iterdir()) == []


def _filling_up(path: Path) -> WavTarget:
    """Begun while there was space; from now on there is none."""
    file = WavTarget(path, 16_000)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file._raw.fileno())
    os.close(full)
    return file


@needs_full_disk
def test_a_disk_that_is_full_already_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.wav.part").symlink_to("/dev/full")

    with pytest.raises(DeviceError, match=r"can't write .*a\.wav: No space left on device") as caught:
        WavTarget(tmp_path / "a.wav", 16_000)

    assert "disk full" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)

    for path in (pipe, tmp_path / "link"):
        with pytest.raises(DeviceError, match="can't be replaced"):
            WavTarget(path, 16_000)

    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "folder").mkdir()
    file, link = tmp_path / "folder" / "a.wav", tmp_path / "link.wav"
    link.symlink_to(Path("folder") / "a.wav")
    if there:
        file.write_bytes(b"the one before")
    target = WavTarget(link, 16_000)
    target.write(RAMP)
    target.save()

    assert link.is_symlink()
    assert WavSource(file).read(1000) == pytest.approx(RAMP, abs=1e-4)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a.wav"]


def test_a_pipe_is_not_read_before_its_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    require_readable(tmp_path / "pipe")
    with pytest.raises(DeviceError, match="can't read"):
        require_readable(tmp_path / "gone.wav")
