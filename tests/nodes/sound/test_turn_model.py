"""Where Smart Turn's model is found, and that it is shown what it was trained on."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import graphs
from flowgraph.errors import FlowError
from nodes.sound.conversation import Conversation, load_conversation
from nodes.sound.mel import SAMPLES, LogMel, features
from nodes.sound.turn_model import FILE, REPOSITORY, TurnModel, find
from tests.smart_turn import PART, real_model, save_tiny, unpacked_wheel

if TYPE_CHECKING:
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

COMMIT = "f766f81d3cfdf7737ac64aad813d91bbfd56bf93"
HUB_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE")


@pytest.fixture(autouse=True)
def nothing_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty home, and no `pipecat-ai` that happens to be installed."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in HUB_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", without_pipecat(importlib.util.find_spec, tmp_path))


def without_pipecat(real: Any, tmp_path: Path) -> Any:
    """As the real one, but of `pipecat` only what a test has put there is found."""

    def find_spec(name: str, package: str | None = None) -> Any:
        spec = real(name, package)
        mine = (str(tmp_path), str(Path(__file__).parents[3] / "build"))
        return None if name == "pipecat" and spec and not str(spec.origin).startswith(mine) else spec

    return find_spec


def cached(hub: Path, commit: str = COMMIT, *, main: bool = True) -> Path:
    folder = hub / f"models--{REPOSITORY.replace('/', '--')}"
    path = save_tiny(folder / "snapshots" / commit / FILE)
    if main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
    return path


# -- where it is -------------------------------------------------------------------------------------------------------


def test_a_model_that_is_nowhere_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(FlowError, match="isn't on this machine") as failure:
        find()

    assert all(way in failure.value.hint for way in ("--no-deps pipecat-ai", "`model:`", "download: true"))


def test_a_file_that_is_named_is_taken_before_all_others(tmp_path: Path) -> None:
    cached(tmp_path / "home/.cache/huggingface/hub")
    named = save_tiny(tmp_path / "mine.onnx")

    assert find(str(named)) == named
    with pytest.raises(FlowError, match="there is no file") as failure:
        find(str(tmp_path / "other.onnx"))
    assert FILE in failure.value.hint


@pytest.mark.parametrize(
    ("variable", "folder"),
    [
        ("", "home/.cache/huggingface/hub"),
        ("XDG_CACHE_HOME", "huggingface/hub"),
        ("HF_HOME", "hub"),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("HF_HUB_CACHE", ""),
    ],
)
def test_the_cache_is_where_the_hubs_own_variables_say(
    variable: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv("HF_HOME", str(tmp_path / "elsewhere"))
        monkeypatch.setenv(variable, str(tmp_path / "set"))
        folder = f"set/{folder}"
        if variable == "XDG_CACHE_HOME":
            monkeypatch.delenv("HF_HOME")
    path = cached(tmp_path / folder)

    assert find() == path


def test_of_several_snapshots_the_one_that_main_names_is_taken(tmp_path: Path) -> None:
    hub = tmp_path / "home/.cache/huggingface/hub"
    cached(hub, "1" * 40, main=False)
    main = cached(hub, "2" * 40)
    cached(hub, "3" * 40, main=False)

    assert find() == main
    main.unlink()
    assert find() in hub.rglob(FILE)


def test_an_installed_wheel_has_it_and_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pipecat").mkdir()
    (tmp_path / "pipecat/__init__.py").write_text("raise AssertionError('it has been imported')\n")
    with pytest.raises(FlowError, match="isn't on this machine"):
        find()
    path = save_tiny(tmp_path / "pipecat/audio/turn/smart_turn/data" / FILE)

    assert find() == path
    assert "pipecat" not in sys.modules


def test_the_real_wheel_has_it_where_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(unpacked_wheel()))

    assert find() == real_model()


# -- a download --------------------------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the Hugging Face hub that gives out a file."""

    content: bytes | None = None
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if not self.path.startswith("/api/"):  # where the library counts its users
            self.asked.append(f"{self.command} {self.path}")
        found = self.content is not None and self.path == f"/{REPOSITORY}/resolve/main/{FILE}"
        body = (self.content or b"") if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        if found:
            self.send_header("ETag", '"a-tag"')
            self.send_header("X-Repo-Commit", COMMIT)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(content: bytes | None) -> Iterator[tuple[str, list[str]]]:
    """(its address, what it was asked for)."""
    handler = type("Handler", (Hub,), {"content": content, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.asked
        finally:
            server.shutdown()
            thread.join()


def found_by_a_child(address: str, **environment: str) -> dict[str, str]:
    """What `find(download=True)` gives or raises, in a process of its own: the library reads its variables once."""
    program = (
        "import json\nfrom flowgraph.errors import FlowError\nfrom nodes.sound.turn_model import find\nsaid = []\n"
        "try:\n    told = {'path': str(find(download=True, say=said.append))}\n"
        "except FlowError as error:\n    told = {'error': error.message, 'hint': error.hint}\n"
        "print(json.dumps(told | {'said': ' '.join(said)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_ENDPOINT": address, "PYTHONPATH": str(Path(__file__).parents[3]), **environment},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "the library is as silent as the rest"
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_it_is_fetched_from_the_hub_once_where_that_is_allowed(tmp_path: Path) -> None:
    tiny = save_tiny(tmp_path / "tiny.onnx").read_bytes()

    with hub(tiny) as (address, asked):
        told = found_by_a_child(address)
        first = list(asked)
        again = found_by_a_child(address)

    assert Path(told["path"]).read_bytes() == tiny
    assert "9 MB" in told["said"]
    assert first == [f"{how} /{REPOSITORY}/resolve/main/{FILE}" for how in ("HEAD", "GET")]
    assert (again["path"], again["said"], asked) == (told["path"], "", first)
    assert find() == Path(told["path"]), "without the library too"


def test_a_hub_that_has_it_not_or_may_not_be_asked_is_an_error_that_says_what_to_do() -> None:
    with hub(None) as (address, _):
        missing = found_by_a_child(address)
        offline = found_by_a_child(address, HF_HUB_OFFLINE="1")

    for told in (missing, offline):
        assert f"can't fetch {FILE}" in told["error"]
        assert "--no-deps pipecat-ai" in told["hint"]
    assert "404" in missing["error"]


def test_without_the_library_a_download_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(FlowError, match="huggingface-hub") as failure:
        find(download=True)

    assert "flowgraph[hub]" in failure.value.hint


# -- what it says ------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_model_or_another_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("<html>not found</html>")
    with pytest.raises(FlowError, match="can't be loaded as an ONNX model") as broken:
        TurnModel(tmp_path / "text.onnx")
    with pytest.raises(FlowError, match="is another model: it takes audio") as named:
        TurnModel(save_tiny(tmp_path / "named.onnx", inputs="audio"))
    with pytest.raises(FlowError, match=r"\['n', 128, 800\], not input_features \(n, 80, 800\)"):
        TurnModel(save_tiny(tmp_path / "mels.onnx", mels=128))

    assert FILE in broken.value.hint
    assert FILE in named.value.hint


def demo() -> Conversation:
    return load_conversation(Path(graphs.__path__[0]) / "conversations" / "demo.yaml")


def clips() -> Iterator[tuple[str, Samples]]:
    """Sound as a microphone brings it (16 kHz), by name."""
    conversation = demo()
    for utterance in conversation.utterances:
        clean = np.concatenate((utterance.samples()[: utterance.speech_end], np.zeros(3200, np.float32)))
        noisy = clean + np.resize(conversation.noise_floor(), len(clean))
        yield utterance.text, noisy
        yield f"{utterance.text} Cut off.", noisy[: len(clean) // 2]
    words = np.concatenate([utterance.samples() for utterance in conversation.utterances])
    random = np.random.default_rng(1)
    yield "more than 8 s", words
    yield "loud, with a constant", words[:100_000] * 3 + 0.1
    yield "silence", np.zeros(40_000)
    yield "noise", random.normal(size=130_001) * 0.1


def test_its_scores_are_those_of_pipecats_own_computation() -> None:
    """Theirs: the wheel's features, of the whole clip at once, and the model as it is run there.

    A score can be compared where it is one: where noise of a millionth, which is what lies between two ways to round the
    same features, doesn't change it.
    """
    import onnxruntime as ort

    spec = importlib.util.spec_from_file_location("theirs", unpacked_wheel() / PART / "_whisper_features.py")
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(real_model()), options, providers=["CPUExecutionProvider"])
    model = TurnModel(real_model())
    random = np.random.default_rng(1)

    def score(picture: Samples) -> float:
        return float(session.run(None, {"input_features": picture[None].astype(np.float32)})[0][0, 0])

    exact = {}
    for name, samples in clips():
        mel = LogMel()
        for begin in range(0, len(samples), 320):
            mel.add(samples[begin : begin + 320].astype(np.float32))
        whole = samples[: len(samples) // 160 * 160].astype(np.float32)[-SAMPLES:]
        picture = theirs.compute_whisper_log_mel_features(np.pad(whole, (SAMPLES - len(whole), 0)))
        assert np.abs(features(mel.clip()) - picture).max() < 5e-5, name
        expected = score(picture)
        others = [score(picture + random.normal(size=picture.shape) * 1e-6) for _ in range(4)]
        if max(abs(other - expected) for other in others) < 0.02:
            exact[name] = (model.score(mel.clip()), expected)

    assert len(exact) >= 10
    assert {name: ours for name, (ours, _) in exact.items()} == pytest.approx(
        {name: reference for name, (_, reference) in exact.items()}, abs=0.02
    )
    assert min(ours for ours, _ in exact.values()) < 0.1, "some sound unfinished"
    assert max(ours for ours, _ in exact.values()) > 0.9
