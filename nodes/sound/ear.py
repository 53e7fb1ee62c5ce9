"""The ear: when the user had finished and when the answer began, from a recording alone. Judges any program by the same rule.

1. The sound is cut into windows of 10 ms from the recording's first sample on. A window is audible when its root mean square is above
   −50 dBFS (the definition of `nodes.sound.levels`); of the user's, above −45 dBFS, the level of the annotations of recorded callers,
   because microphones bring noise.
2. Speech ends with the end of its last audible window; an answer begins with the start of its first one.
3. Stereo: the user is on the left, the answers are on the right. An answer begins where the right becomes audible behind at least
   200 ms of silence there, if the user spoke since the last answer began and has been silent for at least 100 ms. What
   begins while the user speaks, or goes on after a pause of its own, is no answer to that.
4. Mono: user and answer alternate, the user first. A silence of at least `pause_s` is between them, a shorter one is within the speech
   of one of them; so it must be longer than anybody's pauses and shorter than the program's response.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nodes.sound.levels import AUDIBLE_DBFS, WINDOWS_A_SECOND
from nodes.sound.wav import WavSource

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Levels = npt.NDArray[np.float64]

USER_DBFS = -45.0
PAUSE_S = 0.25
QUIET_WINDOWS = 20
SILENT_WINDOWS = 10
BLOCK_WINDOWS = 1000


class Exchange(NamedTuple):
    """One answer, and what it answered. Seconds from the recording's first sample."""

    speech_end_s: float
    first_sound_s: float

    @property
    def latency_s(self) -> float:
        """Voice to voice."""
        return self.first_sound_s - self.speech_end_s


def judge(
    path: str | Path,
    *,
    user_dbfs: float = USER_DBFS,
    answer_dbfs: float = AUDIBLE_DBFS,
    pause_s: float = PAUSE_S,
) -> list[Exchange]:
    """Listen to a WAV file, stereo or mono. `pause_s` matters for mono only. Raises DeviceError if it can't be read."""
    levels = window_levels(path)
    if levels.shape[1] == 1:
        return _alternating(levels[:, 0] > user_dbfs, levels[:, 0] > answer_dbfs, round(pause_s * WINDOWS_A_SECOND))
    return _side_by_side(levels[:, 0] > user_dbfs, levels[:, 1] > answer_dbfs)


def window_levels(path: str | Path) -> Levels:
    """The level of each whole window of 10 ms in dBFS, shape (windows, channels). Raises DeviceError."""
    import numpy as np

    source = WavSource(path)
    size = max(source.rate_hz // WINDOWS_A_SECOND, 1)
    found = [np.zeros((0, source.channels))]
    try:
        while len(samples := source.read_channels(size * BLOCK_WINDOWS)) >= size:
            whole = samples[: len(samples) // size * size].reshape(-1, size, source.channels)
            found.append(np.mean(np.square(whole, dtype=np.float64), axis=1))
    finally:
        source.close()
    levels: Levels = 10 * np.log10(np.maximum(np.concatenate(found), 1e-20))
    return levels


def _side_by_side(user: Flags, answer: Flags) -> list[Exchange]:
    found = []
    end = 0
    """One behind the user's last audible window, if no answer to it has begun; else 0."""
    silent = quiet = QUIET_WINDOWS
    for index, (speaks, sounds) in enumerate(zip(user.tolist(), answer.tolist(), strict=True)):
        if sounds:
            if end and quiet >= QUIET_WINDOWS and silent >= SILENT_WINDOWS:
                found.append(_exchange(end, index))
                end = 0
            quiet = 0
        else:
            quiet += 1
        if speaks:
            end, silent = index + 1, 0
        else:
            silent += 1
    return found


def _alternating(user: Flags, answer: Flags, pause: int) -> list[Exchange]:
    found = []
    end = 0
    """One behind the last audible window of the stretch that is on."""
    users_turn = True
    for index, (speaks, sounds) in enumerate(zip(user.tolist(), answer.tolist(), strict=True)):
        if end and sounds and index - end >= pause:
            if users_turn:
                found.append(_exchange(end, index))
            users_turn = not users_turn
            end = 0
        if speaks if users_turn else sounds:
            end = index + 1
    return found


def _exchange(end: int, begin: int) -> Exchange:
    return Exchange(end / WINDOWS_A_SECOND, begin / WINDOWS_A_SECOND)
