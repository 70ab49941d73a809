"""One source's files on their way into documents."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from msgspec import Struct

from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.ingest.batches import Batch, Topics, batches, batches_again, every
from mira_stream.ingest.files import etag_of, etag_size, find_corpus
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.placed import placed_group
from mira_stream.ingest.ports import Readers
from mira_stream.ingest.positions import CHANGED_COPY_FIX, CHANGED_FIX, Positions, feed_of, go_on
from mira_stream.ingest.there import Missing, There
from mira_stream.sections import SourceSection


class Produced(Struct, kw_only=True):
    """Counts of one source: what is in the log of its files, by this run and earlier ones; `new`: by this run.

    `documents` and `rejected` together are all that was produced; `left_out_files` lay beside data files.
    Of a look for what is missing, `again`: documents of an earlier run that this one has produced again; `left`: those
    that are there, and rejected rows that have a dead letter.
    """

    documents: int = 0
    rejected: int = 0
    new: int = 0
    left_out_files: int = 0
    again: int = 0
    left: int = 0


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
        self.group = placed_group(name, section)
        family = project.settings.groups[self.group].family
        self._mapping = RowMapping(name, section, family, project.settings.ingest.inline_bytes_max)
        self._topics = Topics(
            project.documents_topic(self.group), project.topic("dead-letters"), project.topic("ingest")
        )

    def missing(self, there: There) -> Missing:
        """What of this source is not there."""
        paths = {file.uri: file.path for file in self.corpus.files}

        def was_file(uri: str, etag: str) -> bool:
            path, size = paths.get(uri), etag_size(etag)
            return path is not None and size is not None and etag_of(path, size) == etag

        return Missing(there, self.name, was_file)

    def open(self, positions: Positions, again: bool, missing: Missing | None = None) -> Opened:
        """Go on from these positions. With `missing`, only with what it takes, and what it takes of the rows before
        them comes first. Raises DataLossError if a file is not what it was (see `go_on`)."""
        feeds = [(file, feed_of(self.name, file.uri)) for file in self.corpus.files]
        fix = CHANGED_FIX if missing is None else CHANGED_COPY_FIX
        files = [(file, go_on(feed, file, positions.of(feed), again, fix)) for file, feed in feeds]
        if missing is not None:
            is_new = all(positions.of(feed) is None for _, feed in feeds)
            missing.is_copy = is_new and positions.has_others(self.name, [feed for _, feed in feeds])
        to_read = (files, self._mapping, self._topics, self._readers)
        coming = batches(*to_read, takes=every if missing is None else missing.takes)
        return Opened(
            sum(start.documents for _, start in files),
            sum(start.rejected for _, start in files),
            coming if missing is None else chain(batches_again(*to_read, missing.takes), coming),
        )
