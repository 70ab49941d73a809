"""Brokers for everybody's tests: `kafka` is a real one, started once a run; `broker` is memory and Kafka in turn."""

import gc
import os
import signal
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
import structlog
from hypothesis import HealthCheck, settings

from mira_stream.broker_local import EmbeddedBroker
from mira_stream.kafka import KafkaBroker
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import Broker
from mira_stream.testing.broker import MemoryBroker

_numbers = count()

# How busy the machine is says nothing of the code. Where CI is set the examples follow from the code alone, so that a
# gate says of the same commit what it said before; whoever runs the tests by hand explores.
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("untimed")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So it is in a background job of a shell; tests send themselves and their children Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_configure = structlog.configure


def _configure_uncached(**settings: Any) -> None:
    _configure(**{**settings, "cache_logger_on_first_use": False})


# Commands run in this process configure the log anew, each with processors of its own: a logger that kept those of an
# earlier one would be deaf to `capture_logs`.
pytest.MonkeyPatch().setattr(structlog, "configure", _configure_uncached)

gc.disable()  # until all is imported: little of what imports make is ever garbage


def pytest_collection_finish() -> None:
    """What imports left behind stays: no collection of garbage during the tests walks over it again."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a real Kafka. A test run that cannot start it fails."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("kafka"), talk=print)
    yield broker.start().bootstrap_servers
    broker.stop()


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.broker)])
def bootstrap(request: pytest.FixtureRequest) -> str | None:
    """None for a broker in memory, else Kafka's bootstrap servers: a test that asks for it runs twice."""
    return None if request.param == "memory" else str(request.getfixturevalue("kafka"))


@pytest.fixture
async def broker(bootstrap: str | None) -> AsyncIterator[Broker]:
    """A test that asks for it runs twice: in memory and on Kafka."""
    if bootstrap is None:
        yield MemoryBroker()
        return
    real = KafkaBroker(BrokerSection(session_timeout_ms=600_000, request_timeout_ms=60_000), bootstrap)
    yield real
    await real.close()


@pytest.fixture
def prefix() -> str:
    """A project prefix nobody else uses: tests share one Kafka."""
    return f"t{next(_numbers)}-{uuid4().hex[:8]}"
