"""The servers as child processes: how they come up, fail, and end with whoever started them."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from nodes.servers.serving import finished

ROOT = Path(__file__).parents[2]
SERVERS = ("stt", "llm", "tts")


def start(name: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"nodes.servers.{name}", *options]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def first_line(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert child.stdout is not None
    line: dict[str, Any] = json.loads(child.stdout.readline())
    return line


def end_of(child: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """Exit status, and what was printed after the first line."""
    out, err = child.communicate(timeout=10)
    return child.returncode, out, err


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_answers_when_it_says_so_and_ends_when_its_stdin_closes(name: str) -> None:
    child = start(name, "--port", "0", "--parent")
    ready = first_line(child)
    with urllib.request.urlopen(f"{ready['url']}/health", timeout=5) as response:
        health = json.load(response)

    assert ready["ready"] is True
    assert ready["url"].startswith("http://127.0.0.1:")
    assert health["status"] == "ok"
    assert health["engine"]
    assert end_of(child) == (0, b"", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quietly(number: signal.Signals) -> None:
    child = start("llm", "--port", "0")
    first_line(child)
    child.send_signal(number)

    assert end_of(child) == (0, b"", b"")


def test_a_closed_stdin_alone_does_not_end_a_server_that_was_started_by_hand() -> None:
    child = start("llm", "--port", "0")
    url = first_line(child)["url"]
    assert child.stdin is not None
    child.stdin.close()
    with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
        assert response.status == 200
    child.terminate()
    child.stdin = None

    assert end_of(child)[0] == 0


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "nodes.servers.llm", "--port", "0", "--parent"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_parent_that_is_killed_leaves_no_child_behind() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        assert json.loads(parent.stdout.readline())["ready"]
        parent.kill()

    ended, _, _ = select.select([child], [], [], 10)
    os.close(child)

    assert ended


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        (["--prt", "1"], "unrecognized arguments: --prt 1", "--help"),
        (["--port", "70000"], "argument --port: 70000 is not a TCP port (0 to 65535)", "--help"),
        (["--port", "many"], "argument --port: many is not a TCP port (0 to 65535)", "--help"),
        (["--token-ms", "-1"], "argument --token-ms: -1 is not a number from 0 to 60000", "--help"),
    ],
)
def test_wrong_options_are_one_line_that_says_what_to_do(options: list[str], error: str, hint: str) -> None:
    child = start("llm", *options)
    line = first_line(child)

    assert line["error"] == error
    assert hint in line["hint"]
    assert end_of(child) == (1, b"", b"")


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = start("llm", "--port", str(port))

        assert first_line(child) == {
            "error": f"port {port} is taken", "hint": "choose another --port, or 0 for a free one",
        }  # fmt: skip
        assert end_of(child) == (1, b"", b"")


def test_weights_that_are_not_there_are_one_line() -> None:
    child = start("tts", "--model", "/no/such.onnx", "--voices", "/no/such.bin")
    line = first_line(child)

    assert line["error"] == "there is no file /no/such.onnx and no file /no/such.bin"
    assert "espeak" in line["hint"]
    assert end_of(child) == (1, b"", b"")


def test_work_is_waited_for_also_when_its_waiter_is_cancelled() -> None:
    async def main() -> tuple[bool, bool]:
        loop = asyncio.get_running_loop()
        work: asyncio.Future[int] = loop.create_future()
        waiter = asyncio.create_task(finished(work))
        await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.sleep(0)
        still_waiting = not waiter.done()
        work.set_result(1)
        await asyncio.wait([waiter])
        return still_waiting, waiter.cancelled()

    assert asyncio.run(main()) == (True, True)
