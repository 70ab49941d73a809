"""All epochs of a log as one table."""

from collections.abc import Callable, Sequence
from typing import Final

from mira_stream.exporting.ports import Columns
from mira_stream.messages import Epoch, Mark, decoder
from mira_stream.records import LogReader, Record

_decode: Final = decoder(Epoch).decode
Row = tuple[Record, Epoch]


def _value(mark: Mark | None) -> float | None:
    return None if mark is None else mark.value


def _tie(mark: Mark | None) -> float | None:
    return None if mark is None else mark.tie_fraction


_COLUMNS: Final[dict[str, Callable[[Record, Epoch], object]]] = {
    "epoch_of": lambda record, epoch: epoch.epoch_of,
    "group": lambda record, epoch: epoch.group,
    "lineage": lambda record, epoch: epoch.lineage,
    "mask": lambda record, epoch: epoch.mask,
    "epoch": lambda record, epoch: epoch.epoch,
    "cause": lambda record, epoch: epoch.cause,
    "partition": lambda record, epoch: record.partition,
    "offset": lambda record, epoch: record.offset,
    "timestamp_ms": lambda record, epoch: record.timestamp_ms,
    "first_offset": lambda record, epoch: epoch.first_offset,
    "policy": lambda record, epoch: epoch.policy,
    "basis": lambda record, epoch: epoch.basis,
    "n": lambda record, epoch: epoch.n,
    "weight": lambda record, epoch: epoch.weight,
    "target": lambda record, epoch: epoch.target,
    "target_corrected": lambda record, epoch: epoch.target_corrected,
    "keep": lambda record, epoch: _value(epoch.keep),
    "keep_tie_fraction": lambda record, epoch: _tie(epoch.keep),
    "drop": lambda record, epoch: _value(epoch.drop),
    "drop_tie_fraction": lambda record, epoch: _tie(epoch.drop),
}


async def epoch_columns(reader: LogReader, topic: str) -> Columns:
    """The columns of epochs.parquet (schema.EPOCHS), partition by partition in offset order.

    Raises msgspec.DecodeError for a record that is no epoch.
    """
    rows: list[Row] = []
    for partition in await reader.partitions(topic):
        first, end = (await reader.bounds([partition]))[partition]
        async for record in reader.read(partition, first, end):
            rows.append((record, _decode(record.value or b"")))  # noqa: PERF401 - a long read, row by row
    return epoch_rows(rows)


def epoch_rows(rows: Sequence[Row]) -> Columns:
    return {name: [column(record, epoch) for record, epoch in rows] for name, column in _COLUMNS.items()}
