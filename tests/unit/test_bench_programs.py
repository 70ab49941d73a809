"""Programs of peers that pass records on: what they note of their start is no work of each record."""

import asyncio
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson
import pytest

from bench.peering.passing import PROGRAMS
from bench.peering.programs.pass_ours import Passing
from mira_stream.records import Record

RECORDS = 20
PARTITIONS = 2


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every look whether a file is there."""
    seen: list[Path] = []
    there = Path.exists

    def exists(path: Path, **given: Any) -> bool:
        seen.append(path)
        return there(path, **given)

    monkeypatch.setattr(Path, "exists", exists)
    return seen


async def test_ours_looks_for_its_start_once_a_partition(tmp_path: Path, looks: list[Path]) -> None:
    started = tmp_path / "started"
    handlers = [Passing(number, "out", 0.0, started) for number in range(PARTITIONS)]
    for offset in range(RECORDS):
        for number, handler in enumerate(handlers):
            await handler.handle(Record("in", number, offset, 0, b"key", b"value"))
    assert float(started.read_text()) > 0
    assert len(looks) == PARTITIONS


def test_faststream_never_looks_for_its_start(
    tmp_path: Path, looks: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[bytes] = []
    handlers: list[Callable[[bytes], Any]] = []
    message = SimpleNamespace(raw_message=SimpleNamespace(key=b"key"))

    def same(work: Any) -> Any:
        return work

    class KafkaBroker:
        context = SimpleNamespace(get_local=lambda name: message)

        def __init__(self, *given: Any, **more: Any) -> None: ...

        def subscriber(self, *given: Any, **more: Any) -> Callable[[Any], Any]:
            def keep(work: Any) -> Any:
                handlers.append(work)
                return work

            return keep

        async def publish(self, body: bytes, topic: str, key: bytes) -> None:
            published.append(body)

    class FastStream:
        on_startup = on_shutdown = staticmethod(same)

        def __init__(self, broker: KafkaBroker) -> None: ...

        async def run(self) -> None:
            await asyncio.gather(*(handlers[0](b"value") for _ in range(RECORDS)))

    names = "KafkaConcurrentProcessingMiddleware", "initialize_concurrent_processing", "stop_concurrent_processing"
    modules: dict[str, dict[str, Any]] = {
        "faststream": {"AckPolicy": SimpleNamespace(MANUAL=0), "ContextRepo": object, "FastStream": FastStream},
        "faststream.kafka": {"KafkaBroker": KafkaBroker, "KafkaMessage": object},
        "faststream_concurrent_aiokafka": dict.fromkeys(names),
    }
    for module, given in modules.items():
        found = ModuleType(module)
        found.__dict__.update(given)
        monkeypatch.setitem(sys.modules, module, found)
    job = {"bootstrap": "", "input": "in", "output": "out", "group": "g", "document_s": 0.0}
    (tmp_path / "job.json").write_bytes(orjson.dumps(job))
    monkeypatch.setattr(sys, "argv", ["pass_faststream.py", str(tmp_path)])
    runpy.run_path(str(PROGRAMS / "pass_faststream.py"))
    assert len(published) == RECORDS
    assert float((tmp_path / "started").read_text()) > 0
    assert looks == []
