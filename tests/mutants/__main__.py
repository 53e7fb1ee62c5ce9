"""`python -m tests.mutants [WORD…]`: break each rule in a copy of the tree, and run the tests that must notice.

With words: only the mutants whose names contain them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("flowgraph", "nodes", "graphs", "tests", "pyproject.toml", "README.md")
LIMIT_S = 240
ALL_LIMIT_S = 900
"""For the tests of all mutants together."""
NOTICED, SURVIVED, BROKEN = "noticed", "SURVIVED", "BROKEN"


def copy_tree(folder: Path) -> None:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / part)


def apply(mutant: Mutant, folder: Path) -> None:
    """Raises ValueError if the text that it changes isn't there exactly once."""
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: its text occurs {text.count(mutant.old)} times")
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def run_tests(folder: Path, tests: tuple[str, ...], limit_s: int = LIMIT_S) -> tuple[int, str]:
    """(exit code of pytest, its output). A run that hangs counts as failed tests."""
    files = [test for test in tests if (folder / test.split("::")[0]).exists()]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=60", *files]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, "it hangs"
    return done.returncode, done.stdout + done.stderr


def verdict(mutant: Mutant) -> tuple[str, str]:
    """(verdict, what noticed it or what is wrong)."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_tree(folder)
        try:
            apply(mutant, folder)
        except (OSError, ValueError) as error:
            return BROKEN, str(error)
        code, output = run_tests(folder, mutant.tests)
    if code == 0:
        return SURVIVED, "all tests pass"
    if code != 1:
        return BROKEN, output.strip().splitlines()[-1] if output.strip() else f"pytest ended with {code}"
    failed = [line for line in output.splitlines() if line.startswith("FAILED")]
    return NOTICED, failed[0].removeprefix("FAILED ").split(" - ")[0].rpartition("::")[2] if failed else output[-60:]


def main(words: list[str]) -> int:
    console = Console()
    mutants = [mutant for mutant in MUTANTS if all(word in f"{mutant.rule} {mutant.name}" for word in words)]
    if not mutants:
        console.print(f"[red]No mutant's name holds {' and '.join(words)}.[/red]")
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        copy_tree(Path(name))
        tests = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        code, output = run_tests(Path(name), tests, ALL_LIMIT_S)
    if code:
        console.print(output, highlight=False, markup=False)
        console.print("[red]The tests fail without any mutant.[/red]")
        return 1
    table = Table("rule", "what is broken", "", "by", title="Mutants")
    survivors = 0
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for mutant, (found, how) in zip(mutants, pool.map(verdict, mutants), strict=True):
            colour = "green" if found == NOTICED else "red"
            survivors += found != NOTICED
            table.add_row(str(mutant.rule), mutant.name, f"[{colour}]{found}[/{colour}]", how)
            console.print(f"[{colour}]{found:>8}[/{colour}]  {mutant.rule:>2}  {mutant.name}")
    console.print(table)
    console.print(f"{len(mutants) - survivors} of {len(mutants)} noticed, in {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
