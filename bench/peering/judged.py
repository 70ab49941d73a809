"""What is compared, and what was found of each side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.peering.environments import Environment
from bench.peering.serving import Server
from mira_stream.messages import Document


class Side(NamedTuple):
    """One way of scoring. `served`: asks the server; otherwise it has an engine of its own."""

    name: str
    environment: Environment
    program: str
    served: bool

    @property
    def is_stream(self) -> bool:
        return self.program == "stream.py"


class Work(NamedTuple):
    """What every side is given. `bodies`: chat requests as `vllm serve` takes them, by document id, in order."""

    project: Path
    group: str
    documents: Sequence[Document]
    bodies: Mapping[str, Mapping[str, Any]]
    engine: Mapping[str, Any]
    in_flight: int
    bootstrap: str
    server: Server
    folder: Path
    limit_s: float
    broker_pids: tuple[int, ...] = ()


class Delivered(NamedTuple):
    """By document id, counted. `refused`: dead letters, which are no results."""

    results: Counter[bytes]
    refused: Counter[bytes]

    @property
    def all(self) -> Counter[bytes]:
        return self.results + self.refused

    def __str__(self) -> str:
        return f"{len(self.results)} results, {len(self.refused)} dead letters"


class Turn(NamedTuple):
    """One that counts. `broker_mib`: of a side that has a Kafka, which is not among its own `peak_mib`."""

    seconds: float
    peak_mib: float
    broker_mib: float
    tokens: int | None


class Killed(NamedTuple):
    """After a SIGKILL at the half and a second start. `ratio`: all tokens generated over those of one pass. `missing`:
    documents without a result, `refused` among them. `twice`: outcomes of documents that had one. `status`: of the
    second start; None if it never ended."""

    ratio: float | None
    missing: int
    twice: int
    refused: int
    status: int | None


class Poisoned(NamedTuple):
    """One document that no engine can take whole, in the middle of the others. `others`: results of those. `scored`:
    whether it has one itself, of what a side has left of it. `refused`: dead letters, of whichever document. `status`:
    None if it never ended."""

    others: int
    scored: bool
    refused: int
    status: int | None
    said: str


class Measured(NamedTuple):
    """Seconds of each turn that counts. `failed`: why there are none, or no kill and poison."""

    side: Side
    seconds: list[float]
    peak_mib: float = 0.0
    broker_mib: float = 0.0
    tokens: int | None = None
    killed: Killed | None = None
    poisoned: Poisoned | None = None
    failed: str = ""

    def rate(self, documents: int) -> float | None:
        return documents / median(self.seconds) if self.seconds else None
