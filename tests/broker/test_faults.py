"""A selection of the fault suite, and a small crash matrix: what `make faults` and `make crash-matrix` do at length."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import crash_matrix
from tests.faults.kafka import Kafka
from tests.faults.lab import run_case
from tests.faults.table import CASES, line, summary, table

pytestmark = pytest.mark.broker

SELECTION = ("F03", "F15", "F17", "F18", "F22", "F26")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def victim(folder: Path) -> Iterator[Kafka]:
    """A broker of its own: these tests are not kind to it."""
    kafka = Kafka(folder / "kafka")
    asyncio.run(kafka.start())
    yield kafka
    asyncio.run(kafka.stop())


@pytest.mark.parametrize("fault", SELECTION)
async def test_fault(victim: Kafka, folder: Path, fault: str) -> None:
    title, case = CASES[fault]
    outcome = await run_case(case, victim, folder, fault, 0)
    assert outcome.passed, line(outcome, title)
    assert f"| {fault} |" in table([outcome])
    assert '"lost":0,"duplicated":0' in summary([outcome])


async def test_a_small_crash_matrix(victim: Kafka, folder: Path) -> None:
    plan = crash_matrix.Plan(documents=1_600, kills=8, broker_restarts=0, scorers=2, again_with=(1, 4))
    result = await crash_matrix.run(victim, folder, plan, print)
    assert result["passed"], result
