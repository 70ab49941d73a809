"""Records of one kind, read one ahead: what was written is taken in step with what is recomputed."""

from collections.abc import AsyncIterator
from typing import Generic

import msgspec

from mira_stream.audit.result import Findings
from mira_stream.messages import M
from mira_stream.records import Record


class Ahead(Generic[M]):
    """One partition's records, decoded; one that cannot be is a finding of the kind `unreadable`, and passed over."""

    def __init__(
        self, records: AsyncIterator[Record], decoder: "msgspec.json.Decoder[M]", findings: Findings, unreadable: str
    ) -> None:
        self._records = records
        self._decoder = decoder
        self._findings = findings
        self._unreadable = unreadable
        self._next: tuple[Record, M] | None = None

    async def peek(self) -> tuple[Record, M] | None:
        """The next record, which stays the next; None at the end."""
        while self._next is None:
            try:
                record = await anext(self._records)
            except StopAsyncIteration:
                return None
            try:
                self._next = record, self._decoder.decode(record.value or b"")
            except msgspec.DecodeError as error:
                where = f"{record.topic}/{record.partition}@{record.offset}"
                self._findings.add(self._unreadable, where, str(error))
        return self._next

    def take(self) -> None:
        """Done with the record that was seen last."""
        self._next = None
