"""What a detector of speech said of a stream, for whoever hears the same again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nodes.vad import Model, Prepare


def remembering(load: Callable[[], Prepare]) -> Callable[[], Prepare]:
    """A model that is not asked twice about the same stream: hundreds of conversations begin alike, up to where something is said.

    What it says depends on nothing but the sound since its beginning. A stream that turns out to be new is told from there on.
    """
    answers: dict[bytes, float] = {}

    def loaded() -> Prepare:
        prepare = load()

        def prepared(buffer: npt.NDArray[np.float32], rate_hz: int) -> Model:
            judge = prepare(buffer, rate_hz)
            stream = b""
            untold: list[npt.NDArray[np.float32]] = []

            def remembered() -> float:
                nonlocal stream
                stream = hashlib.blake2b(stream + buffer.tobytes(), digest_size=16).digest()
                if (answer := answers.get(stream)) is not None:
                    untold.append(buffer.copy())
                    return answer
                window = buffer.copy()
                for buffer[:] in untold:
                    judge()
                untold.clear()
                buffer[:] = window
                answer = answers[stream] = judge()
                return answer

            return remembered

        return prepared

    return loaded
