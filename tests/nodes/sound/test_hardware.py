"""What can't be had from a card: drivers without time stamps, devices with two channels, errors. The driver is a stand-in."""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flowgraph.errors import DeviceError
from nodes.sound import hardware
from nodes.sound.hardware import Hardware, HardwareStream, find, list_devices, no_hardware

SECOND = 1_000_000_000
MS = 1_000_000
DEVICES = [
    {"name": "Built-in Microphone", "hostapi": 0, "max_input_channels": 2, "max_output_channels": 0},
    {"name": "USB Headset", "hostapi": 0, "max_input_channels": 1, "max_output_channels": 2},
    {"name": "USB Headset Pro", "hostapi": 0, "max_input_channels": 1, "max_output_channels": 2},
]


class PortAudioError(Exception):
    """As sounddevice's."""


class CallbackAbort(Exception):
    """As sounddevice's."""


class Driver(SimpleNamespace):
    """A module like sounddevice, with the devices above. Its time is 50 s where ours is 1000 s."""

    def __init__(
        self, refused: Callable[[dict[str, Any]], bool] = lambda _: False, default: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__(
            PortAudioError=PortAudioError, CallbackAbort=CallbackAbort, default=SimpleNamespace(device=default)
        )
        self.refused = refused
        self.host = "Stand-in"
        self.streams: list[Any] = []
        self.InputStream = self.OutputStream = self.Stream = self._open

    def query_devices(self, index: int | None = None) -> Any:
        devices = [
            {
                **device,
                "default_samplerate": 44_100.0,
                "default_low_input_latency": 0.01,
                "default_low_output_latency": 0.02,
            }
            for device in DEVICES
        ]
        return devices if index is None else devices[index]

    def query_hostapis(self) -> list[dict[str, str]]:
        return [{"name": self.host}]

    def check_input_settings(self, **settings: Any) -> None:
        if self.refused(settings):
            raise PortAudioError("Invalid sample rate")

    check_output_settings = check_input_settings

    def _open(self, **options: Any) -> Any:
        if self.refused(options):
            raise PortAudioError("Device unavailable")
        two = isinstance(options["device"], tuple)
        stream = SimpleNamespace(
            options=options, latency=(0.012, 0.02) if two else 0.02, time=50.0,
            start=lambda: None, abort=lambda **_: None, close=lambda **_: options["finished_callback"](),
        )  # fmt: skip
        self.streams.append(stream)
        return stream


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    stand_in = Driver()
    monkeypatch.setitem(sys.modules, "sounddevice", stand_in)
    return stand_in


def times(current: float = 0.0, adc: float = 0.0, dac: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(currentTime=current, inputBufferAdcTime=adc, outputBufferDacTime=dac)


def opened(
    now: Callable[[], int] = lambda: 1000 * SECOND, channels: int = 1
) -> tuple[HardwareStream, list[Any], list[DeviceError]]:
    """A duplex stream on the headset, the blocks that it gave, and its failures."""
    blocks: list[Any] = []
    failures: list[DeviceError] = []

    def block(heard: Any, played: Any, heard_at: int, played_at: int) -> None:
        if np.isnan(heard[0]):
            raise ValueError("no number")
        blocks.append((heard.copy(), heard_at, played_at))
        played[:] = 0.5

    device = Hardware(1, "USB Headset", 0, channels, 48_000)
    stream = HardwareStream(heard=device, played=device, block=block, failed=failures.append, now=now)
    return stream, blocks, failures


def call(
    driver: Driver, time: SimpleNamespace, *, channels: int = 1, level: float = 0.25, status: Any = None
) -> np.ndarray:
    heard = np.full((480, channels), level, np.float32)
    played = np.zeros((480, channels), np.float32)
    driver.streams[0].options["callback"](heard, played, 480, time, status)
    return played


def test_times_of_the_stream_are_on_our_clock(driver: Driver) -> None:
    _, blocks, _ = opened()
    call(driver, times(50.1, 50.085, 50.113))

    assert [(heard_at, played_at) for _, heard_at, played_at in blocks] == [(1000_085 * MS, 1000_113 * MS)]


def test_a_time_of_zero_is_replaced_by_the_callbacks_and_the_latency(driver: Driver) -> None:
    _, blocks, _ = opened(now=lambda: 1000 * SECOND)
    call(driver, times())

    assert [(heard_at, played_at) for _, heard_at, played_at in blocks] == [(999_988 * MS, 1000_020 * MS)]


def test_nothing_is_heard_before_the_callback_that_fills_it_nor_captured_after_the_one_that_brings_it(
    driver: Driver,
) -> None:
    _, blocks, _ = opened()
    call(driver, times(50.1, 50.099, 50.05))

    assert [(heard_at, played_at) for _, heard_at, played_at in blocks] == [(1000_090 * MS, 1000_100 * MS)]


def test_two_channels_are_mixed_when_heard_and_both_played(driver: Driver) -> None:
    _, blocks, _ = opened(channels=2)
    played = call(driver, times(50.1, 50.085, 50.113), channels=2)

    assert (blocks[0][0] == 0.25).all()
    assert (played == 0.5).all()


def test_lost_and_late_blocks_are_counted(driver: Driver) -> None:
    stream, _, _ = opened()
    call(driver, times(50.1, 50.085, 50.113), status=SimpleNamespace(input_overflow=True, output_underflow=False))
    call(driver, times(50.11, 50.095, 50.123), status=SimpleNamespace(input_overflow=True, output_underflow=True))

    assert (stream.overflows, stream.underflows, stream.faults) == (2, 1, 3)


def test_an_error_in_the_callback_stops_the_stream_and_is_told(driver: Driver) -> None:
    _, _, failures = opened()
    with pytest.raises(CallbackAbort):
        call(driver, times(50.1, 50.085, 50.113), level=float("nan"))
    driver.streams[0].options["finished_callback"]()

    assert [error.message for error in failures] == ["the sound device has stopped: ValueError: no number"]


def test_stopping_is_no_failure_but_a_device_that_stops_by_itself_is_one(driver: Driver) -> None:
    stream, _, failures = opened()
    assert asyncio.run(stream.stop())
    assert failures == []

    _, _, failures = opened()
    driver.streams[1].options["finished_callback"]()
    assert "unplugged" in failures[0].message


def test_a_driver_that_hangs_while_it_closes_is_left_alone(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "STOP_S", 0.05)
    stream, _, _ = opened()
    free = threading.Event()
    driver.streams[0].abort = lambda **_: free.wait(10)
    driver._exit_handler = free.wait
    forgotten: list[Any] = []
    monkeypatch.setattr(atexit, "unregister", forgotten.append)

    assert not asyncio.run(stream.stop())
    assert forgotten == [driver._exit_handler], "nor is it waited for at the end of the process"
    free.set()


def test_blocks_are_small_and_latency_is_low(driver: Driver) -> None:
    opened()

    options = driver.streams[0].options
    assert (options["blocksize"], options["latency"], options["dtype"], options["channels"]) == (
        480,
        "low",
        "float32",
        (1, 1),
    )


@pytest.mark.parametrize(
    ("host", "name", "served"),
    [("ALSA", "pipewire", True), ("ALSA", "USB Headset: Audio (hw:1,0)", False), ("Core Audio", "USB Headset", False)],
)
def test_behind_a_sound_server_each_direction_has_a_stream_with_a_longer_buffer(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, host: str, name: str, served: bool
) -> None:
    """It may be two devices, and in a duplex stream of two PortAudio throws away input."""
    driver.host = host
    monkeypatch.setitem(DEVICES[1], "name", name)
    microphone, speaker = find(name, "input"), find(name, "output")
    HardwareStream(heard=microphone, played=None, block=lambda *_: None, failed=print, now=lambda: 0)

    assert microphone.shares(speaker) is not served
    assert driver.streams[0].options["latency"] == (0.02 if served else "low")


def test_devices_of_two_names_share_nothing(driver: Driver) -> None:
    assert not find("headset pro", "input").shares(find("built", "input"))


def test_a_stream_that_cannot_be_opened_says_which_and_what_to_do(driver: Driver) -> None:
    driver.refused = lambda options: "callback" in options
    with pytest.raises(DeviceError, match="can't open the sound device USB Headset: Device unavailable") as caught:
        opened()
    assert "another program" in caught.value.hint


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("name", "direction", "index"),
    [("headset pro", "output", 2), ("usb headset", "input", 1), ("built", "input", 0), ("USB", "input", 1)],
)
def test_a_device_is_found_by_its_name_or_a_part_of_it(name: str, direction: Any, index: int) -> None:
    assert find(name, direction).index == index


@pytest.mark.usefixtures("driver")
def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(DeviceError, match="no output device whose name contains 'built'") as caught:
        find("built", "output")
    assert caught.value.hint.startswith("there are: 'USB Headset', 'USB Headset Pro'")


def test_a_device_that_refuses_48_khz_or_one_channel_is_opened_as_it_can_be(driver: Driver) -> None:
    driver.refused = lambda settings: settings["samplerate"] == 48_000 or settings["channels"] == 1
    device = find("built", "input")

    assert (device.rate_hz, device.channels) == (44_100, 2)


def test_a_device_that_refuses_everything_is_told_with_the_reason(driver: Driver) -> None:
    driver.refused = lambda _: True
    with pytest.raises(DeviceError, match="'USB Headset' can't be used: Invalid sample rate"):
        find("usb headset", "input")
    assert no_hardware("input") == "no microphone", "a default that can't be used is none"


@pytest.mark.usefixtures("driver")
def test_devices_are_listed_with_what_to_write() -> None:
    devices = list_devices()

    assert [device.address for device in devices][:3] == [device["name"] for device in DEVICES]
    assert [device.address for device in devices][-3:] == ["caller:PATH", "file:PATH.wav", "null"]
    assert [(device.input, device.output, device.default) for device in devices[:2]] == [
        (True, False, ""),
        (True, True, "both"),
    ]
    assert devices[0].detail == "Stand-in, 44100 Hz, 10 ms"


def test_the_name_of_a_sound_server_is_listed_with_the_buffer_that_it_gets(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.host = "ALSA"
    monkeypatch.setitem(DEVICES[0], "name", "pulse")

    assert list_devices()[0].detail == "ALSA, 44100 Hz, 20 ms"


def test_without_portaudio_it_is_said_what_is_used_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Any:
        raise DeviceError("PortAudio isn't installed", hint="install it")

    monkeypatch.setattr(hardware, "_sounddevice", gone)

    assert no_hardware("input") == "no microphone (PortAudio isn't installed)"
    assert list_devices()[0].detail.startswith("no sound hardware (PortAudio isn't installed)")
    with pytest.raises(DeviceError, match="PortAudio isn't installed"):
        find("USB", "input")


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    with pytest.raises(DeviceError, match="sounddevice isn't installed") as caught:
        find("USB", "input")
    assert caught.value.hint == "pip install sounddevice"


def test_without_a_default_device_there_is_none(driver: Driver) -> None:
    driver.default.device = (-1, -1)

    assert (no_hardware("input"), no_hardware("output")) == ("no microphone", "no speaker")
