"""The two rigs every contract test runs on."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.rig import KafkaRig, MemoryRig, Rig


@pytest.fixture
async def rig(bootstrap: str | None, prefix: str) -> AsyncIterator[Rig]:
    made: Rig = MemoryRig(prefix) if bootstrap is None else KafkaRig(prefix, bootstrap)
    yield made
    await made.broker.close()
