"""The two rigs every contract test runs on."""

import gc
import logging
from collections.abc import AsyncIterator

import pytest

from tests.contract.rig import KafkaRig, MemoryRig, Rig


class _Complaints(logging.Handler):
    """What asyncio has to say: errors nobody looked at, tasks nobody waited for."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
async def rig(bootstrap: str | None, prefix: str) -> AsyncIterator[Rig]:
    made: Rig = MemoryRig(prefix) if bootstrap is None else KafkaRig(prefix, bootstrap)
    gc.collect()  # what earlier tests left behind is not this one's
    complaints = _Complaints()
    logging.getLogger("asyncio").addHandler(complaints)
    yield made
    await made.broker.close()
    gc.collect()
    logging.getLogger("asyncio").removeHandler(complaints)
    assert complaints.said == []
