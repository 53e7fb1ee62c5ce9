"""`flow new NAME`: a graph of one's own, as a variant of the bundled one."""

from __future__ import annotations

import re
from pathlib import Path

from rich.text import Text

from flowgraph.cli.console import stdout
from flowgraph.errors import FlowError

TEMPLATE = """\
# A voice assistant of your own. Talk with it:     flow run {file}
# What is wrong with it, if anything:              flow check {file}
# What it looks like, and which types there are:   flow show {file}    flow nodes
name: {name}
description: The optimized graph, with changes of my own.

# Everything that isn't said here is taken from the bundled graph `optimized`; see it whole with `flow show optimized`.
extends: optimized

services:
  # Where your servers are. `embedded` starts a small one that comes with Flowgraph; ${{VAR:-default}} reads the environment.
  stt: {{url: "${{STT_URL:-embedded}}"}}        # speech to text, for example ws://gpu.example:8080
  llm: {{url: "${{LLM_URL:-embedded}}", key: "${{LLM_API_KEY:-}}"}}   # any OpenAI-compatible server, for example http://gpu.example:11434
  tts: {{url: "${{TTS_URL:-embedded}}"}}        # Kokoro-FastAPI, for example http://gpu.example:8880

nodes:
  # `flow nodes dialogue` says what every option means.
  dialogue:
    # How much silence ends your turn: less answers faster, and cuts you off more often.
    end: adaptive             # it depends on your words; `fixed`: it is always end_silence
    finished_silence: 240ms   # where they sound finished
    end_silence: 800ms        # where they don't tell, until your own pauses are known
    unfinished_silence: 2s    # where they can't be the end
    speculate_after: 96ms     # begin to prepare an answer after so much silence; `off` waits until you have finished
    barge_in: auto            # may you interrupt? `headphones`: yes; `auto`: not where the microphone may hear the speaker
    # system: file:prompt.txt    # beside this file
    # greeting: Hello, what can I do for you?
  # llm: {{model: llama3.1}}
  # llm: {{model: qwen3, extra: {{reasoning_effort: none}}}}    # on Ollama: answer at once, don't think first
  # tts: {{voice: af_heart}}

# Checked at the end of each run: the first sound of an answer, counted from your last word.
budget: {{first_audio_p95: 1s}}
"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CannotBegin(FlowError):
    """The file can't be written, or mustn't be."""

    exit_code = 2


def write_new(name: str) -> None:
    """Write NAME.yaml. Raises CannotBegin; an existing file stays as it is."""
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if not _NAME.fullmatch(path.stem):
        raise CannotBegin(
            f"{path.stem!r} is no name for a graph", hint="letters, digits, '-' and '_', such as my-assistant"
        )
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        raise CannotBegin(f"{path} is there already, and stays as it is", hint="choose another name") from None
    except OSError as error:
        raise CannotBegin(f"can't write {path}: {error.strerror}", hint="choose another folder") from None
    try:
        with file:
            file.write(TEMPLATE.format(name=path.stem, file=path))
    except OSError as error:
        path.unlink()  # half a graph would be in the way of the next try
        raise CannotBegin(f"can't write {path}: {error.strerror}", hint="is the disk full?") from None
    stdout().print(Text(f"wrote {path}\ntalk with it: flow run {path}"), soft_wrap=True)
