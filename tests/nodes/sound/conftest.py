"""The sound card of the tests in this folder: started once, when the first one asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NoReturn

import pytest

from tests.sound_card import NoSoundCard, SoundCard, sound_card


@pytest.fixture(scope="session")
def card() -> Iterator[SoundCard]:
    """A running card. Skips where there can be none; fails in CI, where there must be one."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(sound_card())
        except NoSoundCard as error:
            do_without(error)
        yield running


def do_without(error: NoSoundCard) -> NoReturn:
    """Skip with the reason; in CI, fail with it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"no sound card: {error}")
    pytest.skip(f"no sound card: {error}")
