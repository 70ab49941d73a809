"""The audit says within seconds which open transaction it waits for, and ends with a finding after a bound."""

import asyncio
import random
from collections.abc import Iterable, Mapping

from mira_stream.audit.result import Findings
from mira_stream.audit.transactions import SAY_EVERY_S, SAY_S, check_ended
from mira_stream.records import TopicPartition
from mira_stream.streaming.limits import OPEN_TRANSACTION_FIX
from mira_stream.testing.loop import VirtualLoop

AT, OTHER = TopicPartition("mira.progress", 1), TopicPartition("mira.scores", 0)


class Reader:
    """The last stable offset of `AT` stands at 7 of 9 until `ends_s`."""

    def __init__(self, ends_s: float) -> None:
        self._ends_s = ends_s

    async def bounds(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, tuple[int, int]]:
        stable = 9 if asyncio.get_running_loop().time() >= self._ends_s else 7
        return {one: (0, stable if one == AT else 9) for one in partitions}


def run(
    ends_s: float, over_s: float = 0.0, patience_s: float = 35.0
) -> tuple[Findings, list[tuple[float, str]], float]:
    """What was found, what was said and when, and when it ended; in virtual time from 0."""
    findings, said = Findings(), list[tuple[float, str]]()

    async def main() -> float:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        begun = loop.time()
        loop.call_later(over_s, over.set)
        reader = Reader(begun + ends_s)
        await check_ended(
            reader, {AT: 9, OTHER: 9}, findings, patience_s, lambda line: said.append((loop.time() - begun, line)), over  # type: ignore[arg-type]
        )  # fmt: skip
        return loop.time() - begun

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(random.Random(0))) as runner:
        return findings, said, runner.run(main())


def test_a_transaction_that_ends_soon_is_nothing_to_tell() -> None:
    findings, said, _ = run(ends_s=SAY_S - 0.5)
    assert (findings.kept, said) == ([], [])


def test_what_is_waited_for_is_said_within_seconds_and_again() -> None:
    findings, said, _ = run(ends_s=20.0)
    assert findings.kept == []
    assert [round(at_s) for at_s, _ in said] == [round(SAY_S), round(SAY_S + SAY_EVERY_S)]
    assert said[0][1].startswith(
        "mira.progress/1: a transaction has been open for 3 s and more; the broker should end it"
    )
    assert said[0][1].endswith(OPEN_TRANSACTION_FIX)


def test_one_that_does_not_end_is_a_finding_after_its_bound() -> None:
    findings, said, ended_s = run(ends_s=1e9)
    assert 35.0 <= ended_s < 36.0
    assert [(one.code, one.origin) for one in findings.kept] == [("transaction_open", "mira.progress/1@7")]
    assert findings.kept[0].detail.endswith(OPEN_TRANSACTION_FIX)
    assert len(said) == 4


def test_an_audit_that_reads_for_longer_looks_once_more_at_its_end() -> None:
    findings, _, ended_s = run(ends_s=50.0, over_s=60.0)
    assert (findings.kept, round(ended_s)) == ([], 60)
