"""What the README shows is true: its code runs, its graph is fine, its picture is the graph's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def flow(*arguments: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "flowgraph.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the README."""
    node, test, program = blocks("python")
    [graph] = blocks("yaml")
    for name, text in (("robot.py", node), ("test_robot.py", test), ("program.py", program), ("robot.yaml", graph)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_node_of_the_readme_passes_its_own_test(folder: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_robot.py"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_graph_of_the_readme_is_fine_and_its_node_documents_itself(folder: Path) -> None:
    assert "fine" in flow("check", "robot.yaml", folder=folder)
    assert "The lower, the rougher." in flow("nodes", "robot:Robot", folder=folder)


def test_the_program_of_the_readme_can_be_imported(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", "import program"], cwd=folder, check=True, capture_output=True)


def test_the_picture_of_the_readme_is_the_bundled_graph(tmp_path: Path) -> None:
    [picture] = blocks("mermaid")

    assert picture == flow("show", "optimized", "--format", "mermaid", folder=tmp_path)


def test_the_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"`?\bmake ([a-z][a-z-]+)\b`?", README.replace("make run` (see", "")))

    assert {"run", "test", "bench"} <= named
    assert named <= targets


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target
