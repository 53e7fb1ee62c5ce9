"""Where figures were measured: without it they can't be compared with anybody else's."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("aiohttp", "numpy", "onnxruntime", "silero-vad", "pocketsphinx", "kokoro-onnx", "espeakng-loader")
"""Whose versions change what is measured."""


def processor() -> str:
    """The processor's name, as its maker gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "unknown processor"


def cores() -> int:
    """So many programs may run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str]:
    """Package → version, of Flowgraph and of what it stands on; without those that aren't installed."""
    found = {}
    for name in ("flowgraph", *PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """What a reader needs to know of this machine, by name."""
    count = cores()
    return {
        "processor": f"{processor()}, {count} core{'s' if count > 1 else ''}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {'.'.join(map(str, sys.version_info[:3]))}",
    }
