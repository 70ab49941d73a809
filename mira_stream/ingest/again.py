"""A dead letter's document once more: its record as it stands at the origin, or its row read anew from the file."""

from contextlib import closing
from typing import Final

from mira_stream.config import Project
from mira_stream.errors import ConfigError, DataLossError
from mira_stream.ingest.files import CorpusFile, etag_of, etag_size, find_corpus
from mira_stream.ingest.mapping import RowMapping
from mira_stream.ingest.placed import placed_group
from mira_stream.ingest.ports import Readers
from mira_stream.ingest.reading import Reading, read_file
from mira_stream.messages import DeadLetter, decoder
from mira_stream.records import LogReader, Outgoing, TopicPartition

HEADER: Final = "replay_of"
"""Of a document that was produced again: the place of its dead letter, `topic/partition@offset`."""
_letter: Final = decoder(DeadLetter)


class Gone(Exception):
    """The document cannot be had any more, or is still none; says why."""


async def document_of(letter: DeadLetter, of: str, reader: LogReader, project: Project, readers: Readers) -> Outgoing:
    """The record to produce, to the topic and partition of the first try. `of` is the letter's place. Raises Gone."""
    if letter.origin is not None:
        return await _at_origin(letter, of, reader)
    return _of_file(letter, of, project, readers)


async def _at_origin(letter: DeadLetter, of: str, reader: LogReader) -> Outgoing:
    assert letter.origin is not None
    at = TopicPartition(letter.origin.topic, letter.origin.partition)
    if at not in await reader.partitions(at.topic):
        raise Gone(f"{at.topic} is not there any more")
    try:
        async for record in reader.read(at, letter.origin.offset, letter.origin.offset + 1):
            kept = tuple(header for header in record.headers if header[0] != HEADER)
            again = (*kept, (HEADER, of.encode()))
            return Outgoing(at.topic, record.key, record.value or b"", at.partition, again, record.timestamp_ms)
    except DataLossError:
        pass
    raise Gone(f"retention has deleted {at.topic}/{at.partition}@{letter.origin.offset}")


def _of_file(letter: DeadLetter, of: str, project: Project, readers: Readers) -> Outgoing:
    """The row at the letter's ref, by the mapping the project has now."""
    section = project.settings.sources.get(letter.source or "")
    if letter.ref is None or section is None or not section.path:
        said = f"mira.toml does not say where source {letter.source!r} is read from"
        if letter.ref is None or section is None:
            raise Gone(said)
        raise Gone(f"{said}: set `path` of [sources.{letter.source}] to the file or folder that holds {letter.ref.uri}")
    try:
        file = _file(letter, find_corpus(project.path(section.path)).files)
        group = placed_group(str(letter.source), section)
    except ConfigError as error:
        raise Gone(str(error)) from None
    family = project.settings.groups[group].family
    mapping = RowMapping(str(letter.source), section, family, project.settings.ingest.inline_bytes_max)
    start = letter.ref.byte if letter.ref.byte is not None else letter.ref.row or 0
    reading = _first(file, letter.ref.etag, mapping, start, readers)
    if reading.rejected:
        still = _letter.decode(reading.value)
        raise Gone(f"still no document: {still.reason}: {still.error}")
    key = None if reading.id is None else reading.id.encode()
    return Outgoing(project.documents_topic(group), key, reading.value, headers=((HEADER, of.encode()),))


def _file(letter: DeadLetter, files: tuple[CorpusFile, ...]) -> CorpusFile:
    assert letter.ref is not None
    file = next((one for one in files if one.uri == letter.ref.uri), None)
    if file is None:
        raise Gone(f"{letter.ref.uri} is not among the source's files")
    grown = etag_size(letter.ref.etag) if file.format == "jsonl" else None
    if etag_of(file.path, grown) != letter.ref.etag:
        raise Gone(f"{file.path} is not the file it was: produce it anew (produce files --again)")
    return file


def _first(file: CorpusFile, etag: str, mapping: RowMapping, start: int, readers: Readers) -> Reading:
    try:
        with closing(read_file(file, etag, mapping, start, readers)) as readings:  # type: ignore[type-var]
            for reading in readings:
                return reading
    except (ConfigError, DataLossError) as error:
        raise Gone(str(error)) from None
    raise Gone(f"{file.path} has no row at {start}")
