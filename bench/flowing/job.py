"""What a program is told to do, what it says when it is done, and the project that both mean."""

import time
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from bench.command import DEMO_PROJECT
from mira_stream.config import Project, load_project
from mira_stream.streaming.ports import TopicSpec
from mira_stream.streaming.topics import topic_specs

GROUP: Final = "text"
SOURCE: Final = "stdlib"
TOPICS: Final = ("scores", "progress", "dead-letters", "ingest", "policy")

Name = Literal["aiokafka", "pass", "flow", "scored", "scored-http", "produce", "sends", "sends-singly"]


class Job(Struct, kw_only=True):
    """`name`: which side. `in_flight`: documents at once; `partition_span`: offsets that a partition may be read ahead,
    and every `stuck_every`th document takes `stuck_s` (0: none). `path`: the file that is produced. `profile`: write
    a cProfile there. The program ends when `documents` results are committed, or by SIGTERM."""

    name: Name
    bootstrap: str
    prefix: str
    documents: int
    reply_s: float = 0.0
    in_flight: int = 256
    partition_span: int = 200_000
    stuck_every: int = 0
    stuck_s: float = 0.0
    path: str = ""
    profile: str = ""

    def project(self) -> Project:
        """The demo's project under a prefix of its own."""
        project = load_project(DEMO_PROJECT, environment={})
        settings = project.settings
        limits = replace(settings.limits, in_flight_documents=self.in_flight, partition_span=self.partition_span)
        source = replace(settings.sources[SOURCE], path=self.path)
        return replace(
            project,
            settings=replace(
                settings,
                project=replace(settings.project, prefix=self.prefix),
                limits=limits,
                sources={**settings.sources, SOURCE: source},
            ),
        )


def topics_of(project: Project) -> list[TopicSpec]:
    """Of the project's topics those that a side touches."""
    wanted = {project.documents_topic(GROUP), *map(project.topic, TOPICS)}
    return [spec for spec in topic_specs(project) if spec.name in wanted]


class Sample(Struct, array_like=True):
    """After so many documents: wall clock (s since 1970), CPU time of the process (s), its resident memory (MiB)."""

    documents: int
    wall_s: float
    cpu_s: float
    rss_mib: float


class Turn(Struct, kw_only=True):
    """What a program has done: a sample when it asked for its first documents, and one a transaction. Bytes: all that
    came in on its connections, and those of the documents that were handed on; both 0 where they were not counted."""

    samples: list[Sample]
    bytes_in: int = 0
    bytes_delivered: int = 0

    @property
    def documents(self) -> int:
        return self.samples[-1].documents

    @property
    def cpu_us(self) -> float:
        """Of a document."""
        return (self.samples[-1].cpu_s - self.samples[0].cpu_s) / self.documents * 1e6

    @property
    def rate(self) -> float:
        """Documents a second."""
        return self.documents / (self.samples[-1].wall_s - self.samples[0].wall_s)


def sample(documents: int) -> Sample:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(documents, time.time(), time.process_time(), pages * 4 / 1024)
