"""One source's folder on its way into documents, look by look, without end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mira_stream.config import Project
from mira_stream.errors import MiraError
from mira_stream.ingest.batches import Batch, Topics, batches
from mira_stream.ingest.due import Due
from mira_stream.ingest.files import CorpusFile, etag_of, etag_size, uri_of
from mira_stream.ingest.listing import Seen, list_folder, whole_lines
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.placed import placed_group
from mira_stream.ingest.ports import Readers
from mira_stream.ingest.positions import Positions, feed_of, go_on
from mira_stream.messages import IngestPosition
from mira_stream.sections import SourceSection


class Refused(NamedTuple):
    """A file that is not read on, and why."""

    uri: str
    error: MiraError


class FolderReader:
    """Reads files of a folder as they come and grow.

    `again`: a file that was replaced or cut off is read from its start; else it is refused, since what of the old one
    was not read yet cannot be known. Everything here may block: call it from a thread, one call at a time.
    """

    def __init__(
        self,
        project: Project,
        name: str,
        section: SourceSection,
        folder: Path,
        readers: Readers,
        *,
        settle_s: float,
        again: bool = False,
    ) -> None:
        self.name = name
        self.feed = feed_of(name, uri_of(folder, folder.absolute().parent))
        self._folder = folder
        self._readers = readers
        self._settle_s = settle_s
        self._again = again
        self.group = placed_group(name, section)
        self.topic = project.documents_topic(self.group)
        family = project.settings.groups[self.group].family
        self._mapping = RowMapping(name, section, family, project.settings.ingest.inline_bytes_max)
        self._topics = Topics(self.topic, project.topic("dead-letters"), project.topic("ingest"))
        self._refusals: dict[str, str] = {}
        self.restart()

    def restart(self) -> None:
        """Forget what was taken: the next look goes by positions alone."""
        self._due = Due(self._settle_s)

    @property
    def refused(self) -> dict[str, str]:
        """Files that are refused now, and the codes of the errors."""
        return dict(self._refusals)

    def look(
        self, positions: Positions, now: float, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Batch | Refused]:
        """List the folder, then read what is due; files count as taken once everything has been yielded.

        A file's error is yielded when it is new, and spoils no other file. No further file is begun when `stopped`.
        Raises ConfigError if the folder cannot be listed.
        """
        listing = list_folder(self._folder)
        there = {seen.file.uri for seen in listing}
        self._refusals = {uri: code for uri, code in self._refusals.items() if uri in there}
        due = {seen.file.uri: seen for seen in self._due.look(listing, now)}
        news: list[Refused] = []

        def refuse(file: CorpusFile, error: MiraError) -> None:
            self._refuse(due.pop(file.uri), now, news, error)

        def starts() -> Iterator[tuple[CorpusFile, IngestPosition]]:
            for seen in list(due.values()):
                if stopped():
                    due.clear()
                    return
                try:
                    start = self._start(seen, positions)
                except MiraError as error:
                    refuse(seen.file, error)
                    continue
                if start is not None:
                    yield start

        for batch in batches(starts(), self._mapping, self._topics, self._readers, on_error=refuse):
            yield batch
            yield from news
            news.clear()
        yield from news
        for seen in due.values():
            self._due.taken(seen)
            self._refusals.pop(seen.file.uri, None)

    def _start(self, seen: Seen, positions: Positions) -> tuple[CorpusFile, IngestPosition] | None:
        """The file, up to where it may be read, and from where; None if there is nothing new in it."""
        file, size = seen.file, seen.stamp.size
        feed = feed_of(self.name, file.uri)
        last = positions.of(feed)
        if file.format == "jsonl":
            known = etag_size(last.etag) if last is not None else 0
            if last is not None and known is not None and known <= size and etag_of(file.path, known) == last.etag:
                end = whole_lines(file.path, size, max(known, last.next))
            else:
                end = whole_lines(file.path, size, 0)
            if last is None and end == 0:
                return None
            file = file._replace(end=end)
        position = go_on(feed, file, last, self._again)
        return None if position.done else (file, position)

    def _refuse(self, seen: Seen, now: float, news: list[Refused], error: MiraError) -> None:
        self._due.refused(seen, now)
        uri = seen.file.uri
        if not seen.file.path.exists():  # deleted since the folder was listed: no error
            return
        if self._refusals.get(uri) != error.code:
            self._refusals[uri] = error.code
            news.append(Refused(uri, error))
