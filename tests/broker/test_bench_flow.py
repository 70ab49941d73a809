"""The benchmark of the pipe in small: every side does all documents once and is measured, whatever its speed."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import ConsumerRecord

from bench.flow import measure_on, parse_arguments, result, tables
from bench.flowing.running import Flows
from bench.peering.topics import Reader
from tests.contract.rig import PATIENCE_S

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

DOCUMENTS = 1_000
SMALL = ["--documents", str(DOCUMENTS), "--repeats", "1", "--reply-s", "0.001", "--limit-s", "800"]


def _place(record: "ConsumerRecord[bytes, bytes]") -> bytes:
    """A card's key is its group's: its origin tells it apart; other results have the document's key."""
    value = bytes(record.value or b"")
    return orjson.dumps(orjson.loads(value)["origin"]) if b'"origin"' in value else bytes(record.key or b"")


async def test_every_side_does_every_document_once(kafka: str, prefix: str, tmp_path: Path) -> None:
    given = parse_arguments([*SMALL, "--part=cost", "--part=produce", "--part=fetched"])
    found: dict[str, Any] = {}
    said: list[str] = []
    await measure_on(kafka, tmp_path, prefix, given, found, said.append)
    for turn, side in enumerate(found["cost"], start=1):
        async with Reader(kafka, f"{prefix}.{turn}.scores", _place) as reader:
            async with asyncio.timeout(PATIENCE_S):
                while await reader.read_to_end() < DOCUMENTS:
                    pass  # markers are written after a commit is acknowledged
        assert (len(reader.found), set(reader.found.values())) == (DOCUMENTS, {1}), side
    block = result(given, found)
    assert all(one["cpu_us"] > 0 for one in (*block["cost"].values(), *block["produce"].values()))
    assert set(block["produce_ratio"]) == {"parquet", "jsonl"}
    assert all(set(one) == {"a bare loop", "aiokafka alone"} for one in block["produce_ratio"].values())
    for ratio in block["fetched_over_delivered"].values():
        assert ratio > 1  # keys and values alone do not make a response
    assert sum(table.row_count for table in tables(found)) == len(said) == 5 + 6 + 2


async def test_a_course_is_drawn(kafka: str, prefix: str, tmp_path: Path) -> None:
    drawn = tmp_path / "flat.svg"
    given = parse_arguments([*SMALL, "--part=flat", "--side=flow", "--side=scored", "--plot", str(drawn)])
    found: dict[str, Any] = {}
    await measure_on(kafka, tmp_path, prefix, given, found, list[str]().append)
    assert {side: one["documents"] for side, one in result(given, found)["flat"].items()} == {
        "flow": DOCUMENTS, "scored": DOCUMENTS,
    }  # fmt: skip
    assert "resident memory" in drawn.read_text()
    assert "scored" in drawn.read_text()


async def test_members_share_the_documents(kafka: str, prefix: str, tmp_path: Path) -> None:
    flows = Flows(kafka, prefix, tmp_path, 800.0)
    turns = await flows.run_members(flows.job("scored", DOCUMENTS, in_flight=16, reply_s=0.01), 2)
    assert sum(turn.documents for turn in turns) == DOCUMENTS
    assert min(turn.documents for turn in turns) > 0
