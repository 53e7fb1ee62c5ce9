from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nodes.vad import Model, Prepare
from tests.remembering import remembering


def test_what_is_remembered_is_what_the_model_would_have_said_and_a_new_end_is_told_with_its_whole_beginning() -> None:
    asked: list[int] = []

    def load() -> Prepare:
        def prepare(buffer: npt.NDArray[np.float32], _: int) -> Model:
            total = 0.0

            def judge() -> float:
                nonlocal total
                asked.append(int(buffer[0]))
                total = total / 2 + float(buffer[0])
                return total

            return judge

        return prepare

    def said(load: object, *windows: int) -> list[float]:
        buffer = np.zeros(1, np.float32)
        judge = load()(buffer, 16_000)  # type: ignore[operator]
        answers = []
        for window in windows:
            buffer[0] = window
            answers.append(judge())
            assert buffer[0] == window
        return answers

    streams = [(1, 2, 3), (1, 2, 3), (1, 2, 4, 3), (2, 1), (1, 2, 3, 5, 6)]
    expected = [said(load, *stream) for stream in streams]
    asked.clear()
    remembered = remembering(load)

    assert [said(remembered, *stream) for stream in streams] == expected
    assert asked == [1, 2, 3, 1, 2, 4, 3, 2, 1, 1, 2, 3, 5, 6]
