"""Limits that every broker keeps alike, and what is said when they are passed."""

from collections.abc import Iterable
from typing import Final

from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.records import Outgoing, TopicPartition

RECORD_BYTES_MAX: Final = 16 * 2**20
"""Key, value and headers of one record."""
OPEN_TRANSACTION_FIX: Final = (
    "see whose it is with `mira-stream transactions`; one that nobody owns any more it ends with --abort --yes "
    "(MiraTransactionHangs in deploy/OPERATING.md)"
)
"""What to do when a transaction does not end by its own timeout."""


def check_sizes(records: Iterable[Outgoing]) -> None:
    """Raises ConfigError for a record no broker would take; called before a transaction begins."""
    for record in records:
        size = len(record.value) + len(record.key or b"")
        for name, value in record.headers:
            size += len(name) + len(value)
        if size > RECORD_BYTES_MAX:
            raise ConfigError(
                "record_too_large",
                f"a record of {size} bytes for {record.topic}; at most {RECORD_BYTES_MAX} bytes fit into one",
                "lower [ingest] inline_bytes_max",
            )


def unknown_topic(topic: str) -> DependencyError:
    return DependencyError(
        "topic_missing",
        f"the broker has no topic {topic}",
        "check [project] prefix and [groups]; `mira-stream up` and `mira-stream demo` create what is missing",
    )


def check_partition(record: Outgoing, partitions: int) -> None:
    """Raises DependencyError for a partition its topic does not have."""
    if record.partition is not None and not 0 <= record.partition < partitions:
        raise DependencyError(
            "partition_missing",
            f"{record.topic} has no partition {record.partition}, it has {partitions}",
            "give all topics of the project the same number of partitions",
        )


def made_anew(partition: TopicPartition, next_offset: int, stage: str) -> DataLossError:
    """The error of a progress that is another topic's, though of the same name."""
    match stage:
        case "export":
            anew = "`export --from-start` exports what it holds into an empty folder"
        case "aggregate":
            anew = "what was decided does not fit it: begin anew under another [project] prefix"
        case _:
            anew = (
                "`score` reads it from its start with --accept-loss, and then `mira-stream produce files SOURCE"
                " --missing` sends again what it does not hold and was not scored"
            )
    return DataLossError(
        "topic_made_anew",
        f"{partition.topic}/{partition.partition}: the topic was deleted and made anew: progress up to {next_offset}"
        " is of the one before, and nothing of this one is done",
        "find out who made it anew; if it was restored with every record at its offset, `mira-stream offsets"
        f" --same-topic {partition.topic} --yes` says so; else {anew}",
    )


def results_made_anew(partition: TopicPartition, results: str, next_offset: int) -> DataLossError:
    """The error of results that went to a topic that is gone, though one of its name is there."""
    name = f"{partition.topic}/{partition.partition}"
    return DataLossError(
        "topic_made_anew",
        f"{results} was deleted and made anew: score cards of {name} up to offset {next_offset} were in the one before",
        "find out who made it anew; if it was restored with every record at its offset, `mira-stream offsets"
        f" --same-topic {results} --yes` says so. If an aggregator has read the one before, begin anew under another"
        " [project] prefix; if none ever has, `score` with --accept-loss writes off what was scored, and then"
        " `mira-stream produce files SOURCE --missing` sends again what its topic does not hold any more",
    )


def lost(partition: TopicPartition, position: int, first: int, end: int) -> DataLossError:
    """The error of a position outside [first, end]; names what was lost."""
    name = f"{partition.topic}/{partition.partition}"
    if position < first:
        return DataLossError(
            "records_deleted",
            f"{name}: offsets {position} to {first - 1} were deleted before they were read",
            "raise the topic's retention; `score` and `export` go on without them with --accept-loss, and then"
            " `mira-stream produce files SOURCE --missing` sends documents again that were not scored",
        )
    return DataLossError(
        "offset_beyond_end",
        f"{name}: position {position} lies behind the log's end {end}: the topic was made anew or lost records",
        "check the broker; `score` and `export` read what is there from its start with --accept-loss",
    )
