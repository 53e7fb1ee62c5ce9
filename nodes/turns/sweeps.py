"""What `flow tune` tries for each policy of `dialogue.end`. A new policy is a new entry."""

from __future__ import annotations

import itertools

from flowgraph.tuning.sweep import Sweep, grid
from nodes.turns.fitting import fitted_settings

FIXED_MS = (100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 1000, 1200, 1500, 1800, 2200, 2600)
FINISHED_MS = (160, 240, 320, 450)
UNCLEAR_MS = (400, 550, 700, 850, 950, 1100, 1500)
UNFINISHED_MS = (1200, 1800, 2400)

SWEEPS = (
    Sweep(
        "fixed",
        grid({"end": "fixed", "end_silence": f"{ms}ms"} for ms in FIXED_MS),
        needs=("Voice", "Transcript"),
        whole=True,
    ),
    Sweep(
        "adaptive",
        grid(
            {
                "end": "adaptive",
                "finished_silence": f"{finished}ms",
                "end_silence": f"{unclear}ms",
                "unfinished_silence": f"{unfinished}ms",
                "learn_pauses": learns,
            }
            for finished, unclear, unfinished, learns in itertools.product(
                FINISHED_MS, UNCLEAR_MS, UNFINISHED_MS, (True, False)
            )
            if finished <= unclear <= unfinished
        ),
        needs=("Voice", "Transcript"),
    ),
    Sweep("model", fitted_settings, needs=("Voice", "Transcript", "EndOfTurn")),
)
