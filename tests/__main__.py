"""`python -m tests`: types and every test, in the company that each can bear. Exit code 1 if something fails.

1. What keeps processors busy (mypy, virtual time) runs behind everything else, on what is left of them: an idle process gets nothing that
   another one wants.
2. In front of it: first what goes by the real clock, then what needs the sound card. Both mostly wait.
3. In the end, by itself, what judges the speed of something.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

STARVED_S = 300
"""A test that gets little of a processor may take so long."""
ELSEWHERE = "soak or interop"
"""What has a command of its own."""
BEHIND = {
    "types": ("mypy",),
    "virtual time": ("pytest", "-n", "2", "--dist", "worksteal", f"--timeout={STARVED_S}", "-m", f"not (realtime or alone or {ELSEWHERE})"),
}  # fmt: skip
IN_FRONT = {
    "real clock": ("pytest", "-n", "2", "--dist", "loadfile", "-m", f"realtime and not (alone or {ELSEWHERE})"),
    "sound card": ("pytest", "-m", f"sound and not ({ELSEWHERE})"),
}
BY_ITSELF = {"speed": ("pytest", "-m", f"alone and not (sound or {ELSEWHERE})")}
WRITTEN = {"realtime": r"\brealtime\b", "sound": r"\bsound\b|\bcard\b", "alone": r"\b(alone|sound|card)\b"}
"""How a mark is told from a file's text: a stage of few tests doesn't import all the others. (conftest.py sees to it that it can be told.)"""


def files_of(expression: str) -> list[str]:
    """Those that may have tests of the first mark in the expression; all, where the expression begins with what they are not."""
    pattern = WRITTEN.get(expression.split(maxsplit=1)[0])
    if pattern is None:
        return []
    files = sorted(Path(__file__).parent.rglob("test_*.py"))
    return [str(path) for path in files if re.search(pattern, path.read_text(encoding="utf-8"))]


def run(stages: Mapping[str, Sequence[str]], given: Sequence[str]) -> list[str]:
    """One after the other, `given` being options of pytest; those that failed."""
    failed = []
    for name, (module, *arguments) in stages.items():
        begun = time.monotonic()
        print(f"-- {name}", flush=True)
        if module == "pytest":
            arguments += [*given, *files_of(arguments[-1])]
        command = [sys.executable, "-m", module, *arguments]
        code = subprocess.run(command, check=False).returncode
        print(f"-- {name}: {f'FAILED ({code})' if code else 'fine'}, {time.monotonic() - begun:.0f} s\n", flush=True)
        failed += [name] * (code != 0)
    return failed


def wait_in_the_background() -> None:
    """Run this process and its children only where nobody else wants to, each with one thread: those of a matrix wait by spinning."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


@contextlib.contextmanager
def behind(given: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """What runs behind the rest; at the end of the block, all that it has said is shown."""
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "tests", "--behind", *given]
        # A group of its own, so that its children end with it.
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield process
            shown, over = 0, False
            while not over:
                over = process.poll() is not None
                while piece := os.pread(said.fileno(), 1 << 16, shown):
                    shown += len(piece)
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
                time.sleep(0.2)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def main(given: list[str]) -> int:
    if given[:1] == ["--behind"]:
        wait_in_the_background()
        return bool(run(BEHIND, given[1:]))
    begun = time.monotonic()
    with behind(given) as others:
        failed = run(IN_FRONT, given)
    failed += ["what ran behind"] * (others.returncode != 0)
    failed += run(BY_ITSELF, given)
    print(f"failed: {', '.join(failed)}" if failed else "all passed", f"({time.monotonic() - begun:.0f} s)")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
