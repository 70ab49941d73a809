"""The document a decision was made on, by its origin: as it lies in the log, unless it is gone."""

from mira_stream.errors import DataLossError, DocumentError
from mira_stream.messages import Decision, Document
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.scoring.documents import UnknownSource, read_document
from mira_stream.scoring.registered import Registered


async def document_of(reader: LogReader, decision: Decision, registered: Registered) -> Document:
    """Raises DocumentError: content_deleted (retention), content_missing (never was there), content_differs (another
    document stands there), or what `read_document` raises. A source that was added since is looked for, as the scorer
    does."""
    record = await _record(reader, TopicPartition(decision.origin.topic, decision.origin.partition), decision)
    try:
        document = read_document(record, registered.sources, decision.group)
    except UnknownSource as unknown:
        if not await registered.look(reader, unknown.source):
            raise
        document = read_document(record, registered.sources, decision.group)
    if document.id != decision.id:
        raise DocumentError("content_differs", f"document {document.id!r} stands where {decision.id!r} was decided on")
    return document


async def _record(reader: LogReader, partition: TopicPartition, decision: Decision) -> Record:
    offset = decision.origin.offset
    if partition not in await reader.partitions(partition.topic):
        raise DocumentError("content_deleted", f"there is no {partition.topic}/{partition.partition} any more")
    first, _ = (await reader.bounds([partition]))[partition]
    if offset < first:
        raise DocumentError("content_deleted", f"the log begins at offset {first}, the document stood at {offset}")
    try:
        records = [record async for record in reader.read(partition, offset, offset + 1)]
    except DataLossError as error:  # retention was faster
        raise DocumentError("content_deleted", error.cause) from None
    if not records:
        raise DocumentError("content_missing", f"no record at offset {offset}")
    return records[0]
