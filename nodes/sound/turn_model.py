"""Smart Turn v3: hears in 8 s of sound whether somebody has finished. By Daily, BSD-2; trained on speech of 23 languages.

Its input is `features` of nodes/sound/mel.py, float32 (n, 80, 800), named `input_features`; its output, float32 (n, 1), is
called `logits` but is a probability: the sigmoid is part of the model (pipecat, local_smart_turn_v3.py).

A score between about 0.1 and 0.9 isn't exact. The model is quantised to 8 bits, its activations too, and rounding decides: noise of
a millionth in the features moves such a score by up to 0.2 either way, and so do another CPU or version of onnxruntime.

The file is no part of this package. It is looked for on this machine only, unless a download is allowed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowgraph.errors import FlowError
from nodes.sound.mel import HOPS, MELS, features

if TYPE_CHECKING:
    from nodes.sound.mel import Clip

REPOSITORY = "pipecat-ai/smart-turn-v3"
"""On the Hugging Face hub."""
FILE = "smart-turn-v3.2-cpu.onnx"
"""Its 8-bit version, 9 MB."""
WHEEL_FOLDER = "audio/turn/smart_turn/data"
"""Where the `pipecat-ai` wheel has the same file, within its package."""
INPUT = "input_features"

HOW_TO_GET_IT = (
    "pip install --no-deps pipecat-ai  (12 MB; only the model in it is read), or name the file with `model:`, "
    "or set `download: true` (pip install 'flowgraph[hub]')"
)


def find(model: str = "", *, download: bool = False, say: Callable[[str], None] = lambda _: None) -> Path:
    """The model's file: `model` if that is named, else in the hub's cache, else in the wheel, else downloaded if that is allowed.

    `say` is told before a download, which takes a while. Raises FlowError: nowhere, or the download failed.
    """
    if model:
        path = Path(model).expanduser()
        if not path.is_file():
            raise FlowError(f"there is no file {path}", hint=f"`model:` names {FILE}; without it: {HOW_TO_GET_IT}")
        return path
    for path in (*_in_hub_cache(), *_in_wheel()):
        if path.is_file():
            return path
    if not download:
        raise FlowError(f"the model of Smart Turn ({FILE}) isn't on this machine", hint=HOW_TO_GET_IT)
    say(f"Fetching {FILE} (9 MB) from the Hugging Face hub …")
    return _download()


def _in_hub_cache() -> Iterator[Path]:
    """Where `huggingface_hub` keeps it: the snapshot that `main` names, then any. The variables are the library's own."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    home = Path(os.environ.get("HF_HOME") or home)
    cache = Path(os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or home / "hub")
    folder = cache.expanduser() / f"models--{REPOSITORY.replace('/', '--')}"
    main = folder / "refs" / "main"
    if main.is_file():
        yield folder / "snapshots" / main.read_text(encoding="utf-8").strip() / FILE
    yield from sorted(folder.glob(f"snapshots/*/{FILE}"))


def _in_wheel() -> Iterator[Path]:
    """Found without importing the package, which would import a hundred others."""
    spec = importlib.util.find_spec("pipecat")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(folder) / WHEEL_FOLDER / FILE


def _download() -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError:
        raise FlowError("`download: true` needs the package `huggingface-hub`", hint=HOW_TO_GET_IT) from None
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every try; what is said here is the last
    try:
        return Path(hf_hub_download(REPOSITORY, FILE))
    except Exception as error:  # the library's own, its HTTP client's, and those of the file system
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise FlowError(f"can't fetch {FILE} from the Hugging Face hub: {reason}", hint=HOW_TO_GET_IT) from None


class TurnModel:
    """The model, ready to judge: it has run once. Raises FlowError for a file that isn't Smart Turn v3."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise FlowError(f"onnxruntime can't be used: {error}", hint="pip install onnxruntime") from None
        from nodes.sound.mel import LogMel

        options = ort.SessionOptions()
        # A second thread makes it slower where the other core is busy, and takes that core from everybody else.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # errors only
        try:
            self._session: Any = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises kinds of its own
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise FlowError(f"{path} can't be loaded as an ONNX model: {reason}", hint=f"{FILE} is expected") from None
        shapes = {one.name: one.shape for one in self._session.get_inputs()}
        if list(shapes) != [INPUT] or shapes[INPUT][1:] != [MELS, HOPS]:
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
            raise FlowError(
                f"{path} is another model: it takes {found}, not {INPUT} (n, {MELS}, {HOPS})",
                hint=f"`model:` names {FILE}, or another of {REPOSITORY}",
            )
        self.score(LogMel().clip())

    def score(self, clip: Clip) -> float:
        """The probability, 0 to 1, that who is heard in the clip has finished. Takes tens of milliseconds; any thread may call."""
        [output] = self._session.run(None, {INPUT: features(clip)[None]})
        return float(output.reshape(-1)[0])
