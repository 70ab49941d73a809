"""The HTTP producer when it is full, or does not know: 429 or 503, and nothing is taken."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from mira_stream.errors import DependencyError
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.backlog import Backlog
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.health import Health
from mira_stream.streaming.ingest_metrics import IngestMetrics
from mira_stream.streaming.topics import topic_specs
from producers.http import Limits, serve_documents
from tests.flow.http_world import URL, World, lines, text, until


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_full_pipe_is_429_and_takes_nothing(world: World) -> None:
    async with world.serving(Limits(documents=3, bytes=400, request_bytes=380, request_documents=3)) as client:
        hold = world.broker.hold_next_commit("mira.produce")
        first = asyncio.create_task(client.post(URL, json=[text("a"), text("b")]))
        await hold.reached.wait()
        for body in (lines(text("c"), text("d")), lines(text("e", "x" * 300))):  # documents; bytes
            answer = await client.post(URL, **body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "pipe_full")
            assert int(answer.headers["retry-after"]) > 0
        fits = asyncio.create_task(client.post(URL, json=text("f")))
        hold.release()
        assert [(await task).status_code for task in (first, fits)] == [202, 202]
        assert (await client.post(URL, **lines(text("c"), text("d")))).status_code == 202
        gauge = world.registry.get_sample_value
        held = [gauge(f"mira_ingest_{name}") for name in ("in_flight", "in_flight_bytes", "capacity", "capacity_bytes")]
        assert held == [0, 0, 3, 400]
        assert gauge("mira_ingest_refused_total", {"cause": "pipe_full"}) == 2
        assert gauge("mira_ingest_documents_total", {"feed": "http", "outcome": "accepted"}) == 5
    assert world.ids() == Counter("abfcd")


async def test_a_scorer_too_far_behind_is_429_for_its_group_only(world: World) -> None:
    async with world.serving(Limits(lag=2)) as client:
        reader = await world.broker.reader()
        await world.producer.backlog.look(reader)
        for number in range(3):
            assert (await client.post(URL, json=text(f"a{number}"))).status_code == 202
        await world.producer.backlog.look(reader)
        backlog = world.registry.get_sample_value("mira_ingest_backlog_records", {"topic": "mira.documents.text"})
        assert backlog is not None
        assert backlog >= 3
        behind = await client.post(URL, json=text("b"))
        assert (behind.status_code, behind.json()["error"]["code"]) == (429, "scorer_behind")
        assert behind.headers["retry-after"] == "5"
        other = {"source": "qa", "parts": {"question": "1+1?", "answer": "2"}}
        assert (await client.post(URL, json=other)).status_code == 202
        ends = await reader.bounds(await reader.partitions("mira.documents.text"))
        producer = await world.broker.producer("scorer")
        await producer.commit([], {partition: end for partition, (_, end) in ends.items()}, "mira.scorer.text")
        await world.producer.backlog.look(reader)
        assert (await client.post(URL, json=text("b"))).status_code == 202


async def test_what_is_only_announced_keeps_nobody_out(world: World) -> None:
    async with world.serving(Limits(documents=9, bytes=400, request_bytes=380)) as client:
        begun, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def slowly(id_: str) -> AsyncIterator[bytes]:
            yield b"\n"
            begun.release()
            await go_on.wait()
            yield json.dumps(text(id_)).encode()

        kind = {"content-type": "application/x-ndjson"}
        announced = {**kind, "content-length": str(1 + len(json.dumps(text("a"))))}
        large = {**kind, "content-length": "370"}
        slow = [
            asyncio.create_task(client.post(URL, content=slowly(id_), headers=headers))
            for id_, headers in (("a", announced), ("b", large), ("c", large), ("d", kind), ("e", kind))
        ]
        for _ in slow:
            await begun.acquire()
        held = world.registry.get_sample_value
        assert held("mira_ingest_in_flight_bytes") == len(slow)
        assert (await client.post(URL, json=text("z"))).status_code == 202
        full = await client.post(URL, content=b"x" * 379, headers={**kind, "content-length": "379"})
        wide = await client.post(URL, json=text("y", "y" * 300))
        assert (wide.status_code, full.status_code) == (202, 422)
        go_on.set()
        assert [(await task).status_code for task in slow] == [202] * 5
        assert held("mira_ingest_in_flight_bytes") == 0
    assert world.ids() == Counter("zyabcde")


async def test_a_body_that_grows_beyond_the_room_is_429(world: World) -> None:
    async with world.serving(Limits(documents=9, bytes=400, request_bytes=380)) as client:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield json.dumps(text("a", "x" * 200)).encode()
            begun.set()
            await go_on.wait()

        async def growing() -> AsyncIterator[bytes]:
            yield b" " * 100
            yield b" " * 100

        kind = {"content-type": "application/json"}
        first = asyncio.create_task(client.post(URL, content=slowly(), headers=kind))
        await begun.wait()
        second = await client.post(URL, content=growing(), headers=kind)
        assert (second.status_code, second.json()["error"]["code"]) == (429, "pipe_full")
        go_on.set()
        assert (await first).status_code == 202
        assert world.registry.get_sample_value("mira_ingest_in_flight_bytes") == 0


class SecretiveBroker(ForwardingBroker):
    """Tells the scorer's offsets only when `tells`."""

    tells = False

    async def committed(
        self, consumer_group: str, partitions: Iterable[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        if not self.tells:
            raise DependencyError("broker_refused", "GroupAuthorizationFailed", "give the principal the right")
        return await super().committed(consumer_group, partitions)


async def test_with_a_backlog_that_is_not_known_nothing_is_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mira_stream.streaming.backlog.EVERY_S", 0.0)
    broker, now = SecretiveBroker(world.broker), 0.0
    async with world.serving(Limits(lag=10), broker=broker) as client:
        backlog = world.producer.backlog
        backlog._now, backlog._looked_at = lambda: now, now
        looking = asyncio.create_task(backlog.run())
        before = await client.post(URL, json=text("a"))
        await until(lambda: "GroupAuthorizationFailed" in backlog.ready().cause)
        refused = await client.post(URL, json=text("a"))
        for answer in (before, refused):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "backlog_unknown")
        broker.tells = True
        await until(lambda: backlog.ready().ok)
        assert (await client.post(URL, json=text("a"))).status_code == 202
        broker.tells = False
        await until(lambda: backlog._error is not None)
        now = 29.0  # what was measured counts for a while
        assert (await client.post(URL, json=text("b"))).status_code == 202
        now = 31.0
        assert (await client.post(URL, json=text("c"))).status_code == 503
        assert world.registry.get_sample_value("mira_ingest_backlog_age_seconds") == 31.0
        looking.cancel()
    assert world.ids() == Counter("ab")


async def test_a_defect_in_measuring_the_backlog_ends_the_service(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(backlog: Backlog, reader: LogReader) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Backlog, "look", look)
    await world.broker.create_topics(topic_specs(world.project), 1)
    metrics, stop = IngestMetrics(CollectorRegistry()), asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        await serve_documents(
            world.broker, world.project, metrics, Health(), stop,
            host="127.0.0.1", port=0, token="", limits=Limits(lag=1),
        )  # fmt: skip


async def test_wrong_tokens_are_counted_from_the_first_one_on(world: World) -> None:
    await world.broker.create_topics(topic_specs(world.project), 1)
    metrics, stop, bound = IngestMetrics(registry := CollectorRegistry()), asyncio.Event(), asyncio.Queue[str]()
    serving = asyncio.create_task(
        serve_documents(
            world.broker, world.project, metrics, Health(), stop,
            host="127.0.0.1", port=0, token="a secret of a test", limits=Limits(), bound=bound.put_nowait,
        )
    )  # fmt: skip
    async with httpx.AsyncClient(base_url=await bound.get()) as client:
        cause = {"cause": "token_wrong"}
        assert registry.get_sample_value("mira_ingest_refused_total", cause) == 0
        old = {"authorization": "Bearer a secret of yesterday"}
        assert (await client.post(URL, json=text("a"), headers=old)).status_code == 401
        assert registry.get_sample_value("mira_ingest_refused_total", cause) == 1
    stop.set()
    await serving
