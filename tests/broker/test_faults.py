"""A selection of the fault suite, and a small crash matrix: what `make faults` and `make crash-matrix` do at length."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mira_stream.audit.run import audit
from tests.faults import crash_matrix
from tests.faults.engines import EngineSettings
from tests.faults.kafka import Kafka
from tests.faults.lab import run_case
from tests.faults.services import PATIENCE_S
from tests.faults.stream import CALM, Stream
from tests.faults.table import CASES, line, summary, table

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

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
    outcome = await run_case(case, victim, folder, fault, 0, timed=False)
    assert outcome.passed, line(outcome, title)
    assert f"| {fault} |" in table([outcome])
    assert '"lost":0,"duplicated":0' in summary([outcome])


async def test_a_small_crash_matrix(victim: Kafka, folder: Path) -> None:
    plan = crash_matrix.Plan(documents=1_600, kills=8, broker_restarts=0, scorers=2, again_with=(1, 4))
    result = await crash_matrix.run(victim, folder, plan, print)
    assert result["passed"], result


async def test_an_export_whose_folder_is_gone_is_made_anew_beside_one_that_waits(victim: Kafka, folder: Path) -> None:
    stream, out = await Stream.create(victim, folder / "anew", "anew", timeouts=CALM), folder / "anew-out"
    where = ("--out", str(out))

    async def exported() -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (await audit(stream.project, stream.broker, out)).not_yet_exported:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.5)

    try:
        stream.start("score", engine=EngineSettings(delay_s=0.0))
        stream.start("aggregate")
        first = stream.start("export", *where)
        await stream.feed(200)
        assert await stream.until_seen(200)
        await exported()
        assert await first.stop() == 0, first.last_words()
        shutil.rmtree(out)
        waiting = stream.start("export", *where)
        assert await waiting.until_said("export_gone", PATIENCE_S), waiting.last_words()
        again = stream.start("export", *where, "--from-start")
        assert await again.until_said("exports anew", PATIENCE_S, times=4), again.last_words()
        await exported()
        await stream.feed(100)
        assert await stream.until_seen(300)
        await exported()
        for exporter in (again, waiting):
            assert await exporter.stop() == 0, exporter.last_words()
        result = await audit(stream.project, stream.broker, out)
        assert (result.ok, result.scores_rows, result.given_up) == (True, 300, 0), result.line()
    finally:
        await stream.close()
