"""Where the new owner of a partition starts: at the committed offset, without what is finished above it.

Offset and Progress were written in one transaction. If they differ, somebody moved the offset or the broker forgot it
(`offsets.retention.minutes`), and if the topic has another id than Progress says, it was deleted and made anew: going
on would lose documents or judge them twice, so the stage stops unless a person has accepted that.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from mira_stream.errors import DataLossError
from mira_stream.progress_messages import Progress, WrittenOff
from mira_stream.records import LogReader, TopicPartition
from mira_stream.streaming.limits import lost, made_anew, results_made_anew
from mira_stream.streaming.ports import Consumer
from mira_stream.streaming.progress import is_of_another_topic, newest_progress, progress_elsewhere, results_gone
from mira_stream.streaming.settings import RunnerSettings
from mira_stream.streaming.written_off import Lost, added, left_out, offsets_in, rest, taken_back

log: Final = structlog.get_logger("mira_stream.runner")


class Ids(NamedTuple):
    """What the broker calls the partition's topic and that of its results, as they are now; empty: not known."""

    topic: str
    results: str = ""


class Start(NamedTuple):
    """`committed`: what the broker says; where it does not say `next_offset` and `is_new`, the owner must commit that
    before it reads. `lost`: what a person has accepted to lose here; `written_off`: that, and all that was before."""

    next_offset: int
    committed: int | None
    finished: Sequence[tuple[int, int]] = ()
    is_new: bool = False
    lost: Sequence[Lost] = ()
    topic_id: str = ""
    written_off: WrittenOff | None = None
    results_id: str = ""


async def find_start(
    partition: TopicPartition,
    consumer: Consumer,
    reader: LogReader,
    settings: RunnerSettings,
    place: TopicPartition | None,
    ids: Ids,
) -> Start:
    """Called by an owner that has fenced all others; `place` holds its Progress, if its stage writes any.

    Raises DataLossError(records_deleted, offset_beyond_end, progress_differs, progress_missing, offsets_expired,
    topic_made_anew).
    """
    committed = await consumer.committed(partition)
    progress = None
    is_elsewhere = False
    if place is not None:
        progress = await newest_progress(reader, place, settings.consumer_group, partition)
        if progress is None:
            progress = await progress_elsewhere(reader, place, settings.consumer_group, partition)
            is_elsewhere = progress is not None  # and is written to its place at once
    bounds = (await reader.bounds([partition]))[partition]
    of_this_log = progress
    if committed is None and progress is None:
        start = await _first(partition, consumer, settings, bounds)
        return start._replace(topic_id=ids.topic, written_off=added(None, start.lost), results_id=ids.results)
    if place is None:
        start = Start(committed or 0, committed)
    elif progress is not None and is_of_another_topic(progress, ids.topic):
        of_this_log = None
        if not settings.accept_loss:
            raise made_anew(partition, progress.next_offset, settings.stage)
        log.warning("starts anew", partition=partition, before=progress.next_offset)
        start = Start(0, committed, is_new=True, lost=rest(progress.next_offset, progress.finished))
    else:
        start = agreed(partition, committed, progress, in_order=settings.in_order, accept_loss=settings.accept_loss)
    start = retained(partition, start, bounds, of_this_log, accept_loss=settings.accept_loss)
    written_off = added(None if progress is None else progress.written_off, start.lost)
    written_off = taken_back(written_off, start.next_offset)
    start = start._replace(topic_id=ids.topic, is_new=start.is_new or is_elsewhere, written_off=written_off)
    return with_results(partition, start, progress, of_this_log, ids.results, settings)


def with_results(
    partition: TopicPartition,
    start: Start,
    progress: Progress | None,
    of_this_log: Progress | None,
    results_id: str,
    settings: RunnerSettings,
) -> Start:
    """The start with the id of the topic that results go to. Of another one than before, which a person has accepted,
    all that was finished is written off: nobody may have read its results. Raises DataLossError(topic_made_anew)."""
    if progress is None or not results_gone(progress, results_id):
        before = "" if progress is None else progress.results_id
        return start._replace(results_id=results_id or before)
    if not settings.accept_loss:
        raise results_made_anew(partition, settings.results, progress.next_offset)
    log.warning("results are gone", partition=partition, topic=settings.results, upto=progress.next_offset)
    end = 0 if of_this_log is None else min(of_this_log.next_offset, start.next_offset)
    gone: list[Lost] = [(0, end - 1)] if end else []
    gone += start.finished  # above its offset, and not read again
    written_off = added(start.written_off, gone)
    return start._replace(results_id=results_id, is_new=True, lost=[*start.lost, *gone], written_off=written_off)


def agreed(
    partition: TopicPartition,
    committed: int | None,
    progress: Progress | None,
    *,
    in_order: bool = False,
    accept_loss: bool,
) -> Start:
    """The start that committed offset and Progress agree on; one of them is there. Pure.

    A stage `in_order` finishes nothing behind its offset: either of the two says all.
    """
    name = f"{partition.topic}/{partition.partition}"
    if committed is None:
        assert progress is not None
        if in_order:
            log.warning("goes on where its progress says", partition=partition, offset=progress.next_offset)
        elif not accept_loss:
            raise DataLossError(
                "offsets_expired",
                f"{name}: the group's committed offset is gone, its progress says {progress.next_offset}",
                "`mira-stream offsets --restore --yes` sets it to what the progress says, as --accept-loss does; keep"
                " offsets longer (offsets.retention.minutes)",
            )
        return Start(progress.next_offset, None, progress.finished, is_new=True)
    if progress is None:
        if not (in_order or accept_loss):
            raise DataLossError(
                "progress_missing",
                f"{name}: the group's committed offset is {committed}, and there is no progress of it:"
                " what was finished behind that offset is not known",
                f"restore the progress topic; --accept-loss goes on at {committed}, and does again what was finished",
            )
        return Start(committed, committed, is_new=True)
    if progress.next_offset == committed:
        return Start(committed, committed, progress.finished)
    if not accept_loss:
        raise DataLossError(
            "progress_differs",
            f"{name}: the group's committed offset is {committed}, its progress says {progress.next_offset}:"
            " somebody moved the offset",
            f"`mira-stream offsets --restore --yes` sets it back to {progress.next_offset}; `score` and `export`"
            f" go on at {committed} with --accept-loss, whatever that loses or does twice",
        )
    return Start(committed, committed, is_new=True, lost=left_out(progress.next_offset, committed, progress.finished))


def retained(
    partition: TopicPartition,
    start: Start,
    bounds: tuple[int, int],
    progress: Progress | None = None,
    *,
    accept_loss: bool,
) -> Start:
    """The start, or the first retained offset if it was deleted and that is accepted. `progress`: of this log, which
    tells what was finished also where the offset was moved. Pure."""
    first, end = bounds
    position = start.next_offset
    if first <= position <= end:
        return start
    if position > end and accept_loss:  # the topic was made anew: nothing that was finished is in it
        log.warning("starts anew", partition=partition, offset=first, before=position, end=end)
        gone_with_it = rest(position, ()) if progress is None else rest(progress.next_offset, progress.finished)
        return Start(first, start.committed, is_new=True, lost=gone_with_it)
    read_to, finished = (position, ()) if progress is None else (progress.next_offset, progress.finished)
    gone = left_out(max(position, read_to), first, finished)
    if position > end or (gone and not accept_loss):
        raise lost(partition, position, first, end)
    left = [(max(at, first), last) for at, last in start.finished if last >= first]
    log.warning("offsets lost", partition=partition, first=position, last=first - 1, offsets=offsets_in(gone))
    return Start(first, start.committed, left, is_new=True, lost=[*start.lost, *gone])


async def _first(
    partition: TopicPartition, consumer: Consumer, settings: RunnerSettings, bounds: tuple[int, int]
) -> Start:
    """Where a consumer group starts that has never committed. A stage whose state begins at 0 needs all of the log."""
    first, end = bounds
    if settings.start is None:
        return retained(partition, Start(0, None), bounds, accept_loss=settings.accept_loss)
    if settings.start == "earliest":
        return Start(first, None, is_new=True)  # said at once: what is deleted from now on is lost
    if settings.start == "latest":
        position = end
    else:
        found = await consumer.offset_at(partition, settings.start)
        position = end if found is None else max(first, found)
    log.info("first start", stage=settings.stage, partition=partition, offset=position)
    return Start(position, None, is_new=True)
