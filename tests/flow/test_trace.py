"""A document's traceparent stands on everything that is made of it, and in no value."""

from pathlib import Path

import msgspec

from mira_stream.messages import DeadLetter, Document, encode
from mira_stream.records import TRACE_BYTES_MAX, Headers, Record, trace_of
from mira_stream.testing.broker import MemoryBroker
from tests.flow.pipeline import Pipeline, make_project

COUNT = 12


def trace(number: int) -> bytes:
    return f"00-{number:032x}-{number:016x}-01".encode()


async def test_from_document_to_decision_and_dead_letter(tmp_path: Path) -> None:
    project, broker = make_project(tmp_path), MemoryBroker()
    pipeline = Pipeline(project, broker, tmp_path / "out")
    await pipeline.prepare()
    documents = project.documents_topic("text")
    for number in range(COUNT):
        text = "" if number % 4 == 3 else f"Note {number} says something."
        document = Document(id=f"note-{number}", source="notes", text=text)
        headers: Headers = (("x", b"y"), ("traceparent", trace(number)))
        broker.append(documents, document.id.encode(), encode(document), number % 3, headers)
    strange = Document(id="strange", source="nobody", text="Whose?")
    broker.append(documents, b"strange", encode(strange), 0, (("traceparent", trace(99)),))
    for name in ("score", "aggregate"):
        pipeline.start(name)
    decisions, letters = project.topic("decisions"), project.topic("dead-letters")

    def ended() -> list[Record]:
        return broker.records(decisions) + broker.records(letters)

    await pipeline.until(lambda: len(ended()) == COUNT + 1)
    await pipeline.shut_down()
    expected = {f"note-{number}": trace(number) for number in range(COUNT)} | {"strange": trace(99)}
    assert {(one.key or b"").decode(): one.headers for one in ended()} == {
        name: (("traceparent", value),) for name, value in expected.items()
    }
    assert len(broker.records(letters)) >= 1
    assert all(msgspec.json.decode(one.value or b"", type=DeadLetter) for one in broker.records(letters))
    cards = broker.records(project.topic("scores"))
    assert {one.headers[0][1] for one in cards} <= set(expected.values())
    everything = [*ended(), *cards, *broker.records(project.topic("epochs")), *broker.records(project.topic("state"))]
    assert not any(b"0000000000000000-01" in (one.value or b"") for one in everything)


async def test_an_aggregators_dead_letter_has_it_too(tmp_path: Path) -> None:
    project, broker = make_project(tmp_path), MemoryBroker()
    pipeline = Pipeline(project, broker, tmp_path / "out")
    await pipeline.prepare()
    broker.append(project.topic("scores"), b"text", b"no card", 0, (("traceparent", trace(7)),))
    pipeline.start("aggregate")
    letters = project.topic("dead-letters")
    await pipeline.until(lambda: len(broker.records(letters)) == 1)
    await pipeline.shut_down()
    assert broker.records(letters)[0].headers == (("traceparent", trace(7)),)


def test_a_header_of_any_size_does_not_grow_what_follows() -> None:
    def of(*headers: tuple[str, bytes]) -> Headers:
        return trace_of(Record("t", 0, 0, 0, None, None, headers))

    assert of() == of(("tracestate", b"x")) == of(("traceparent", b"x" * (TRACE_BYTES_MAX + 1))) == ()
    assert of(("traceparent", b"a"), ("traceparent", b"b")) == (("traceparent", b"a"),)
