"""One source's files on their way into documents."""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.ingest.batches import Batch, Topics, batches
from mira_stream.ingest.files import find_corpus
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.placed import placed_group
from mira_stream.ingest.ports import Readers
from mira_stream.ingest.positions import Positions, feed_of, go_on
from mira_stream.sections import SourceSection


class Produced(Struct, kw_only=True):
    """Counts of one source: what is in the log of its files, by this run and earlier ones; `new`: by this run.

    `documents` and `rejected` together are all that was produced; `left_out_files` lay beside data files.
    """

    documents: int = 0
    rejected: int = 0
    new: int = 0
    left_out_files: int = 0


class Opened(NamedTuple):
    """What is in the log of a source's files so far, and the batches that are still to come."""

    documents: int
    rejected: int
    batches: Iterator[Batch]


class SourceReader:
    """Raises ConfigError if the source has no path, or nothing to read there."""

    def __init__(self, project: Project, name: str, section: SourceSection, readers: Readers) -> None:
        if not section.path:
            raise ConfigError("source_pathless", f"[sources.{name}] has no path", f"add one, or --corpus {name}=PATH")
        self.name = name
        self.corpus = find_corpus(project.path(section.path))
        self.feed = feed_of(name, self.corpus.root)
        self._readers = readers
        group = placed_group(name, section)
        family = project.settings.groups[group].family
        self._mapping = RowMapping(name, section, family, project.settings.ingest.inline_bytes_max)
        self._topics = Topics(project.documents_topic(group), project.topic("dead-letters"), project.topic("ingest"))

    def open(self, positions: Positions, again: bool) -> Opened:
        """Go on from these positions. Raises DataLossError if a file is not what it was (see `go_on`)."""
        feeds = [(file, feed_of(self.name, file.uri)) for file in self.corpus.files]
        files = [(file, go_on(feed, file, positions.of(feed), again)) for file, feed in feeds]
        return Opened(
            sum(start.documents for _, start in files),
            sum(start.rejected for _, start in files),
            batches(files, self._mapping, self._topics, self._readers),
        )
