"""The HTTP producer over the in-memory broker: committed before answered, each id once, refused when full."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from mira_stream.errors import ConfigError, DependencyError
from mira_stream.http import guarded
from mira_stream.ingest.known import Known
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.ports import TransactionalProducer
from mira_stream.testing.broker import MemoryBroker
from producers.http import Limits
from tests.flow.http_world import TRACE, URL, World, lines, statuses, text, until


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_each_shape_of_body_ends_in_the_log(world: World) -> None:
    agent = {"source": "agent", "messages": [{"role": "user", "content": "do it"}]}
    parts = {"id": "q", "source": "qa", "parts": {"question": "1+1?", "answer": "2"}, "tokens": 3, "event_time_ms": 7}
    async with world.serving() as client:
        one = await client.post(URL, json=text("a", meta={"n": 1, "deep": {"x": [1.50, None]}}))
        array = await client.post(URL, json=[agent, parts], headers={"traceparent": TRACE})
        many = await client.post(URL, **lines(text("b"), text("c")))
        assert world.ids() == Counter("abc")  # before the end: an answer means committed
    assert [answer.status_code for answer in (one, array, many)] == [202] * 3
    assert one.json() == {"documents": [{"index": 0, "status": "accepted", "id": "a"}]}
    a = world.documents()[[document.id for document in world.documents()].index("a")]
    assert (a.text, a.bytes, a.ref, a.meta) == ("some text", 9, None, {"n": 1, "deep": {"x": [1.5, None]}})
    (of_agent,) = world.documents("agent")
    assert of_agent.id == array.json()["documents"][0]["id"]
    (of_qa,) = world.documents("qa")
    assert (of_qa.tokens, of_qa.event_time_ms, of_qa.parts is not None) == (3, 7, True)
    (record,) = world.broker.records("mira.documents.qa")
    assert (record.key, dict(record.headers)["traceparent"]) == (b"q", TRACE.encode())


@pytest.mark.parametrize(
    ("document", "status", "reason"),
    [
        ({"source": "web", "text": "x", "ref": {"uri": "file:///etc/passwd"}}, 422, "invalid_document"),
        ({"source": "web"}, 422, "invalid_document"),
        ({"source": "web", "text": " \n"}, 422, "empty_document"),
        ({"source": "web", "text": "x", "parts": {"question": "a", "answer": "b"}}, 422, "wrong_format"),
        ({"source": "agent", "text": "x"}, 422, "wrong_format"),
        ({"source": "agent", "messages": [{"content": "x"}]}, 422, "invalid_document"),
        ({"source": "unplaced", "text": "x"}, 422, "unknown_source"),
        ({"source": "nobody", "text": "x"}, 422, "unknown_source"),
        ({"source": "web", "text": "x", "id": ""}, 422, "invalid_document"),
        ({"source": "web", "text": "x", "unknown": 1}, 422, "invalid_document"),
        ({"source": "web", "text": "x" * 2_001}, 413, "too_large"),
        ({"source": "web", "text": "x", "meta": {"y": "y" * 200_000}}, 413, "too_large"),
        ("text", 422, "invalid_document"),
    ],
)
async def test_what_is_no_document_is_told_and_nothing_of_its_request_taken(
    world: World, document: Any, status: int, reason: str
) -> None:
    async with world.serving() as client:
        alone = await client.post(URL, json=document)
        among = await client.post(URL, **lines(text("good"), document))
    for answer, index in ((alone, 0), (among, 1)):
        assert answer.status_code == status
        receipt = answer.json()["documents"][index]
        assert (receipt["status"], receipt["reason"]) == ("invalid", reason)
        assert receipt["error"]
    assert statuses(among) == ["not_taken", "invalid"]
    assert world.documents() == []


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "application/json", 422, "no_documents"),
        (b"[]", "application/json", 422, "no_documents"),
        (b"\n \n", "application/x-ndjson", 422, "no_documents"),
        (b"[1,", "application/json", 422, "documents_invalid"),
        (b'{"source":"web","text":"\xff"}', "application/json", 422, "documents_invalid"),
        (b"[" * 100_000, "application/json", 422, "documents_invalid"),
        (b"{}", "text/plain", 415, "media_type"),
        (b"x" * 5_001, "application/json", 413, "body_too_large"),
        (b"\n".join(b"{}" for _ in range(6)), "application/x-ndjson", 413, "too_many_documents"),
    ],
)
async def test_bodies_that_are_refused(world: World, content: bytes, kind: str, status: int, code: str) -> None:
    limits = Limits(request_bytes=max(5_000, 100_000 if content[:2] == b"[[" else 0), request_documents=5)
    async with world.serving(limits) as client:
        answer = await client.post(URL, content=content, headers={"content-type": kind})

        async def pieces() -> AsyncIterator[bytes]:
            yield content

        chunked = await client.post(URL, content=pieces(), headers={"content-type": kind})
        assert (world.producer.intake.down, world.documents()) == (None, [])
    for one in (answer, chunked):
        assert (one.status_code, one.json()["error"]["code"]) == (status, code)


async def test_half_of_a_surrogate_pair_is_called_so(world: World) -> None:
    async with world.serving() as client:
        said = []
        for body in (b'{"source":"web","text":"a \\ud800 b"}', b'{"source":"web","text":"a'):
            answer = await client.post(URL, content=body, headers={"content-type": "application/json"})
            said.append(answer.json()["documents"][0]["error"])
    assert "half of a surrogate pair" in said[0]
    assert "truncated" in said[1]


async def test_another_path_or_method_is_refused_in_json_too(world: World) -> None:
    async with world.serving() as client:
        wrong_path, wrong_method = await client.post("/v1/other", json={}), await client.put(URL, json={})
    assert (wrong_path.status_code, wrong_path.json()["error"]["code"]) == (404, "path_unknown")
    assert (wrong_method.status_code, wrong_method.json()["error"]["code"]) == (405, "method_unknown")
    assert wrong_method.headers["allow"] == "POST"


async def test_an_id_is_taken_once_and_another_document_of_it_is_a_conflict(world: World) -> None:
    async with world.serving() as client:
        assert statuses(await client.post(URL, json=text("a"))) == ["accepted"]
        again = await client.post(URL, **lines(text("a"), text("b"), text("b")))
        assert (again.status_code, statuses(again)) == (202, ["duplicate", "accepted", "duplicate"])
        for other in (text("a", "other"), text("a", meta={"x": 1}), {**text("a"), "source": "text"}):
            answer = await client.post(URL, **lines(text("c"), other))
            assert (answer.status_code, statuses(answer)) == (409, ["not_taken", "conflict"])
    assert world.ids() == Counter("ab")


@pytest.mark.parametrize("ended", [False, True])
async def test_killed_between_commit_and_answer_the_repost_is_no_duplicate(world: World, ended: bool) -> None:
    hold = world.broker.hold_next_commit("mira.produce", ended=ended)

    async def killed() -> None:
        async with world.serving() as client:
            world.broker.append("mira.documents.text", None, b"no document")
            lost = asyncio.create_task(client.post(URL, **lines(text("a"), text("b"))))
            await hold.reached.wait()
            assert not lost.done()
            lost.cancel()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await killed()
    world.broker.append("mira.documents.text", None, b"{}")
    async with world.serving() as client:
        answer = await client.post(URL, **lines(text("a"), text("b")))
        assert (answer.status_code, statuses(answer)) == (202, ["duplicate" if ended else "accepted"] * 2)
        assert (await client.post(URL, json=text("a", "other"))).status_code == 409
    assert world.ids() == Counter("ab")
    assert world.broker.open_transactions() == []


@pytest.mark.parametrize("failure", ["unknown_committed", "unknown_open"])
async def test_a_commit_without_an_answer_is_looked_up(world: World, failure: str) -> None:
    async with world.serving() as client:
        await client.post(URL, json=text("a"))
        world.broker.fail_next_commit(failure, "mira.produce")  # type: ignore[arg-type]
        answer = await client.post(URL, json=text("b"))
        assert (answer.status_code, statuses(answer)) == (202, ["accepted"])
    assert world.ids() == Counter("ab")


async def test_a_broker_that_fails_is_503_and_the_same_request_may_be_posted_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reopen = asyncio.Event()

    async def pause(_: float) -> None:
        await reopen.wait()

    monkeypatch.setattr("mira_stream.streaming.intake._pause", pause)
    async with world.serving() as client:
        world.broker.fail_next_commit("aborted", "mira.produce")
        refused = await client.post(URL, json=text("a"))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert world.producer.intake.down is not None
        assert (await client.post(URL, json=text("a"))).status_code == 503
        reopen.set()
        await until(lambda: world.producer.intake.down is None)
        assert (await client.post(URL, json=text("a"))).status_code == 202
    assert world.ids() == Counter("a")


class NarrowBroker(ForwardingBroker):
    """Its topics take no record of more than 1,000 bytes; `told` says whether it tells so."""

    def __init__(self, broker: MemoryBroker, told: bool) -> None:
        super().__init__(broker)
        self.told = told
        self.opened = 0

    async def batch_bytes_max(self, topic: str) -> int | None:
        return 1_000 if self.told else None

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        self.opened += 1
        return NarrowProducer(await super().producer(transactional_id))


class NarrowProducer:
    def __init__(self, inner: TransactionalProducer) -> None:
        self._inner = inner
        self._usable = True

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        assert self._usable
        if any(len(record.value) > 1_000 for record in records):
            self._usable = False
            raise ConfigError("record_too_large", "the broker refused it", "raise the topic's max.message.bytes")
        await self._inner.commit(records, offsets, consumer_group)

    async def close(self) -> None:
        await self._inner.close()


@pytest.mark.parametrize("told", [True, False])
async def test_what_its_topic_does_not_take_is_413_and_the_others_are_committed(world: World, told: bool) -> None:
    narrow = NarrowBroker(world.broker, told)
    async with world.serving(broker=narrow) as client:
        hold = world.broker.hold_next_commit("mira.produce")
        first = asyncio.create_task(client.post(URL, json=text("first")))
        await hold.reached.wait()
        bodies = [lines(text(f"a{number}", "x" * (1_500 if number == 3 else 5))) for number in range(6)]
        bodies.append(lines(text("good"), text("large", "x" * 1_500)))
        others = [asyncio.create_task(client.post(URL, **body)) for body in bodies]
        await until(lambda: len(world.producer.intake._queue) == (5 if told else 7))
        hold.release()
        answers = await asyncio.gather(first, *others)
        assert [answer.status_code for answer in answers] == [202, 202, 202, 202, 413, 202, 202, 413]
        assert world.producer.intake.down is None
        assert (await client.post(URL, json=text("a3", "shorter"))).status_code == 202
    assert world.ids() == Counter(["first", "a0", "a1", "a2", "a3", "a4", "a5"])
    assert answers[4].json()["error"]["code"] == ("documents_invalid" if told else "record_too_large")
    if told:
        assert narrow.opened == 1
        assert statuses(answers[7]) == ["not_taken", "invalid"]
        assert "max.message.bytes" in answers[7].json()["documents"][1]["error"]
    rejected = world.registry.get_sample_value("mira_ingest_documents_total", {"feed": "http", "outcome": "rejected"})
    assert rejected == (2 if told else 3)


async def test_requests_side_by_side_share_a_transaction_and_an_id(world: World) -> None:
    async with world.serving() as client:
        hold = world.broker.hold_next_commit("mira.produce")
        first = asyncio.create_task(client.post(URL, json=text("a")))
        await hold.reached.wait()
        posted = [text("b"), text("c"), text("a"), text("a", "other"), text("b")]
        others = [asyncio.create_task(client.post(URL, json=document)) for document in posted]
        await until(lambda: len(world.producer.intake._queue) == 2)
        assert not any(task.done() for task in (first, *others))  # also the conflict waits: `a` is not in the log yet
        hold.release()
        answers = await asyncio.gather(first, *others)
    assert [answer.status_code for answer in answers] == [202, 202, 202, 202, 409, 202]
    assert [statuses(answer)[0] for answer in answers] == [
        "accepted", "accepted", "accepted", "duplicate", "conflict", "duplicate",
    ]  # fmt: skip
    assert world.ids() == Counter("abc")


async def test_told_to_stop_it_answers_what_it_took(world: World) -> None:
    async with world.serving() as client:
        hold = world.broker.hold_next_commit("mira.produce")
        first = asyncio.create_task(client.post(URL, json=text("a")))
        await hold.reached.wait()
        second = asyncio.create_task(client.post(URL, json=text("b")))
        await until(lambda: bool(world.producer.intake._queue))
        world.producer.intake.drain()
        late = await client.post(URL, json=text("c"))
        assert (late.status_code, late.json()["error"]["code"]) == (503, "stopping")
        hold.release()
        assert [(await task).status_code for task in (first, second)] == [202, 202]
    assert world.ids() == Counter("ab")


async def test_another_process_of_the_project_fences_this_one(world: World) -> None:
    async def two() -> None:
        async with world.serving() as client:
            await world.broker.producer("mira.produce.http")
            assert (await client.post(URL, json=text("a"))).status_code == 503

    with pytest.raises(DependencyError, match="producer_fenced"):
        await two()
    assert world.documents() == []


async def test_ids_are_known_up_to_a_bound(world: World) -> None:
    async with world.serving(Limits(remembered=4)) as client:
        for number in range(6):
            await client.post(URL, json=text(f"a{number}"))
        known = [world.producer.intake.known.judge(f"a{number}", b"") for number in range(6)]
    assert known == ["new", "new", "conflict", "conflict", "conflict", "conflict"]
    known_ = Known(2)
    for id_ in ("a", "b", "a", "c"):
        known_.add(id_, b"x")
    assert [known_.judge(id_, b"x") for id_ in "abc"] == ["duplicate", "new", "duplicate"]


async def test_every_route_asks_for_the_token(world: World) -> None:
    async with world.serving():
        routes = [
            (route.path, method)  # type: ignore[attr-defined]
            for route in world.producer.app.routes
            for method in (*route.methods, "DELETE", "OPTIONS")  # type: ignore[attr-defined]
        ]
        assert {path for path, _ in routes} == {URL, "/openapi.json"}
        app: ASGIApp = guarded(world.producer.app, token="a secret of a test", names=None)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://any") as client:
            for path, method in [*routes, ("/", "GET"), ("/nothing", "POST")]:
                assert (await client.request(method, path)).status_code == 401
                bad = {"authorization": "Bearer a secret of a tesT"}
                assert (await client.request(method, path, headers=bad)).status_code == 401
            good = {"authorization": "Bearer a secret of a test"}
            assert (await client.get("/openapi.json", headers=good)).status_code == 200
            assert (await client.post(URL, json=text("a"), headers=good)).status_code == 202
        local = guarded(world.producer.app)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=local), base_url="http://localhost") as client:
            assert (await client.post(URL, json=text("b"))).status_code == 202
            rebound = await client.post(URL, json=text("c"), headers={"host": "evil.example:8086"})
            crossed = await client.post(URL, json=text("c"), headers={"origin": "https://evil.example"})
            assert (rebound.status_code, crossed.status_code) == (421, 403)
    assert world.ids() == Counter("ab")
