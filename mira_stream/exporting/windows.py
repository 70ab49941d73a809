"""All window summaries of a log as one table."""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Final

from mira_stream.exporting.ports import Columns
from mira_stream.messages import SLOTS, decoder
from mira_stream.records import LogReader, Record
from mira_stream.window_messages import WindowSummary

_decode: Final = decoder(WindowSummary).decode
_QUALITY: Final = ("mean", "p05", "p25", "p50", "p75", "p95")
_AS_THEY_ARE: Final = (
    "source",
    "group",
    "lineage",
    "mask",
    "start_ms",
    "end_ms",
    "revision",
    "documents",
    "tokens",
    "keep",
    "downsample",
    "drop",
    "selected_documents",
    "selected_tokens",
    "recommendation_agreement",
    "late",
    "too_late",
    "drifted",
    "next_offset",
)


def _drift(name: str) -> Callable[[WindowSummary], object]:
    return lambda summary: None if summary.drift is None else getattr(summary.drift, name)


def _at(name: str, slot: int) -> Callable[[WindowSummary], object]:
    return lambda summary: getattr(summary, name)[slot]


_COLUMNS: Final[Mapping[str, Callable[[WindowSummary], object]]] = {
    **{name: attrgetter(name) for name in _AS_THEY_ARE},
    **{f"quality_{name}": attrgetter(f"quality.{name}") for name in _QUALITY},
    "ks_d": _drift("ks_d"),
    "w1": _drift("w1"),
    **{f"{slot}_mean": _at("dimension_means", number) for number, slot in enumerate(SLOTS)},
    **{f"{slot}_nulls": _at("null_counts", number) for number, slot in enumerate(SLOTS)},
}


async def window_columns(reader: LogReader, topic: str) -> Columns:
    """The columns of windows.parquet (schema.WINDOWS), all revisions, partition by partition in offset order.

    Raises msgspec.DecodeError for a record that is no window summary.
    """
    rows: list[tuple[Record, WindowSummary]] = []
    for partition in await reader.partitions(topic):
        first, end = (await reader.bounds([partition]))[partition]
        async for record in reader.read(partition, first, end):
            rows.append((record, _decode(record.value or b"")))  # noqa: PERF401 - a long read, row by row
    return {
        **{name: [column(summary) for _, summary in rows] for name, column in _COLUMNS.items()},
        "partition": [record.partition for record, _ in rows],
        "offset": [record.offset for record, _ in rows],
        "timestamp_ms": [record.timestamp_ms for record, _ in rows],
    }
