"""Real ears: the voice activity detector's model, and the recogniser's own protocol, on virtual time."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from flowgraph.errors import FlowError
from flowgraph.graph import Graph
from flowgraph.testing import run_virtual, services_of
from flowgraph.tuning.evidence import ORIGIN_NS, Cache, CantTune, Evidence, front_end, hear, key_of, seconds_of
from flowgraph.units import MS, SECOND
from nodes.servers import scripted
from nodes.sound.conversation import load_conversation
from nodes.sound.monologue import LEAD_NS, spoken_one_by_one
from tests.trial_runs import short_call
from tests.tuning.heard import FAST, Says, heard, optimized, replayed

SILENCE_NS = 1500 * MS


def listened(folder: Path, *numbers: int, graph: Graph | None = None) -> tuple[Any, Evidence]:
    conversation = load_conversation(short_call(folder, *numbers))
    servers = {"stt": scripted.stt(scripted.lines_of(conversation), delay_s=0.05)}

    async def main() -> Evidence:
        told: list[float] = []
        found = await hear(
            graph or optimized(),
            conversation,
            services=services_of(servers),
            silence_ns=SILENCE_NS,
            progress=told.append,
        )
        assert told == sorted(told)
        assert told[-1] == pytest.approx(seconds_of(conversation, SILENCE_NS), abs=0.01)
        return found

    return conversation, run_virtual(main())


def test_every_fact_is_kept_with_its_arrival(tmp_path: Path) -> None:
    conversation, found = listened(tmp_path, 2, 3)

    assert [kind.name for kind in found.kinds] == ["Voice", "SpeechStarted", "Transcript"]
    assert [one.text for one in found.said] == [one.text for one in conversation.utterances]
    finals = [(at, fields) for at, fields in found.of_type("Transcript") if fields["final"]]
    words = " ".join(fields["text"] for _, fields in finals).split()
    assert words == " ".join(one.text for one in conversation.utterances).split()
    voices = list(found.of_type("Voice"))
    assert len(voices) == pytest.approx((found.end - ORIGIN_NS) / (32 * MS), abs=5)
    assert all(0 <= at - fields["at"] <= 20 * MS for at, fields in voices), "a window comes with the block that ends it"
    for said in found.said:
        onset = next(
            fields["at"] for _, fields in found.of_type("SpeechStarted") if fields["at"] > said.start - SECOND // 2
        )
        assert onset == pytest.approx(said.start, abs=40 * MS)
        last = [at for at, _ in finals if said.end - 50 * MS <= at]
        assert 96 * MS <= last[0] - said.end <= 260 * MS


def test_the_end_of_speech_is_where_the_sound_has_it(tmp_path: Path) -> None:
    conversation = load_conversation(short_call(tmp_path, 2, 3))

    sound, spoken = spoken_one_by_one(conversation, SILENCE_NS)

    for one, recorded in zip(spoken, conversation.utterances, strict=True):
        begin, end = (round(at * 16_000 / SECOND) for at in (one.start, one.end))
        samples = recorded.samples()[recorded.speech_start : recorded.speech_end + 1]
        assert abs(sound[begin : end + 1] - samples).max() < 0.01, "but for the noise of the room"
        assert abs(sound[end + 800 : end + 16_000]).max() < 0.01
    assert spoken[0].start >= LEAD_NS
    assert [len(one.pauses) for one in spoken] == [0, 1]


def test_what_was_heard_is_what_the_dialogue_hears(tmp_path: Path) -> None:
    _, found = listened(tmp_path, 2, 3)

    plain, hesitant = replayed(found, FAST, end="fixed", end_silence="200ms")

    assert (plain.pauses, plain.cuts) == (0, ())
    assert plain.decided == pytest.approx(220, abs=40)
    assert [pause for pause, _ in hesitant.cuts] == [0], "it hesitates for 280 ms"
    assert replayed(found, FAST, end="fixed", end_silence="400ms")[1].cuts == ()


def test_nothing_is_left_behind_when_the_user_has_spoken(tmp_path: Path) -> None:
    conversation = load_conversation(short_call(tmp_path, 2))
    servers = {"stt": scripted.stt(scripted.lines_of(conversation))}

    async def main() -> set[asyncio.Task[Any]]:
        await hear(optimized(), conversation, services=services_of(servers), silence_ns=SILENCE_NS)
        await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    assert {task.get_coro().__qualname__ for task in run_virtual(main())} <= {"RequestHandler.start"}


# -- the part of the graph that listens ---------------------------------------------------------------------------------


def test_only_what_leads_to_the_dialogue_listens() -> None:
    ears = front_end(optimized())

    assert list(ears.nodes) == ["mic", "vad", "stt", "dialogue"]
    assert list(ears.services) == ["stt"]
    assert ears.owner is None
    assert not any(edge.feedback for edge in ears.edges)


def test_a_graph_without_a_dialogue_can_not_be_tuned() -> None:
    with pytest.raises(CantTune, match="nobody in this graph decides"):
        front_end(Graph.load("echo", environ={}))


# -- the cache ----------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_what_was_heard(tmp_path: Path) -> None:
    found = heard(Says((500, 300, 500), scores=((0.5,), (0.25, 0.75))), Says((300,), answered=False, over_answer=True))
    cache = Cache(tmp_path)

    cache.save("key", found)

    assert cache.load("key") == found
    assert cache.load("another") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"no json"), gzip.compress(b'{"format": 1}')],
    ids=["empty", "no gzip", "no JSON", "no evidence"],
)
def test_a_file_that_can_not_be_read_counts_as_not_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key.json.gz").write_bytes(content)

    assert Cache(tmp_path).load("key") is None


def test_the_key_is_of_what_was_heard_and_how(tmp_path: Path) -> None:
    conversation, other = (load_conversation(short_call(tmp_path, number)) for number in (2, 4))
    key = key_of(optimized(), conversation)

    assert key == key_of(
        optimized("dialogue.end_silence=900ms", "speaker.device=null", "mic.device=null"), conversation
    )
    different = [
        key_of(optimized(), other),
        key_of(optimized("vad.threshold=0.6"), conversation),
        key_of(optimized("services.stt.url=ws://elsewhere:1"), conversation),
        key_of(optimized("stt.finalize_after=200ms"), conversation),
        key_of(optimized(), conversation.model_copy(update={"noise_floor_dbfs": -50.0})),
        key_of(optimized(), conversation, SILENCE_NS),
    ]
    assert len({key, *different}) == 1 + len(different)


def test_a_folder_that_can_not_be_written_to_costs_the_cache_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = Cache(tmp_path / "file" / "folder")

    cache.save("key", heard(Says((500,))))

    assert cache.load("key") is None
    assert issubclass(CantTune, FlowError)
