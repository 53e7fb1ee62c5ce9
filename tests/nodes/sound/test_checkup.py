from __future__ import annotations

import asyncio

import pytest

from flowgraph.errors import DeviceError
from nodes.sound.checkup import Measurement, measure
from nodes.sound.sweep import Echo


def measured(*, loss_db: float | None, noise_dbfs: float = -70.0) -> Measurement:
    echo = None if loss_db is None else Echo(4.0, 0.1, loss_db, (0.0,))
    return Measurement("mic", "speaker", True, 10.0, 20.0, noise_dbfs, False, echo)


@pytest.mark.parametrize(
    ("loss_db", "noise_dbfs", "barge_in"),
    [(None, -70, "headphones"), (20, -70, "on"), (50, -70, "headphones"), (40, -70, "on"), (40, -50, "headphones")],
)
def test_an_echo_that_can_be_told_from_the_noise_needs_a_canceller(
    loss_db: float | None, noise_dbfs: float, barge_in: str
) -> None:
    assert measured(loss_db=loss_db, noise_dbfs=noise_dbfs).barge_in == barge_in


def test_the_round_trip_is_what_is_stated_and_what_is_not() -> None:
    assert measured(loss_db=20).round_trip_ms == 34.0
    assert measured(loss_db=None).round_trip_ms is None


@pytest.mark.parametrize("address", ["null", "file:somewhere.wav", "caller:demo"])
def test_what_is_no_hardware_is_not_measured(address: str) -> None:
    with pytest.raises(DeviceError, match="is no hardware"):
        asyncio.run(measure(microphone=address))
