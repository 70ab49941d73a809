"""The audit: counts by origin from the topics themselves, and recomputes what was decided."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from mira_stream.audit.collect import Collector, each
from mira_stream.audit.files import Files
from mira_stream.audit.origins import (
    AGGREGATE,
    CARD,
    DECISION,
    DOUBLED,
    GIVEN_UP,
    KEPT_ROW,
    LETTER,
    SCORES_ROW,
    SELECTED,
    UNEXPORTED,
    WAITS,
    Origins,
)
from mira_stream.audit.recompute import Tally, recompute
from mira_stream.audit.result import DIFFERENCES, AuditResult, Findings
from mira_stream.audit.snapshot import Snapshot, take_snapshot
from mira_stream.audit.transactions import Say, check_ended, watermarks
from mira_stream.config import Project
from mira_stream.errors import UsageError
from mira_stream.progress_messages import WrittenOff
from mira_stream.records import LogReader, TopicPartition
from mira_stream.selecting.following import check_whole
from mira_stream.selecting.policies import PolicyLog
from mira_stream.streaming.ports import Broker

TIMEOUT_SCAN_S: Final = 15.0
"""Brokers look for transactions over their time every 10 s."""


async def audit(
    project: Project,
    broker: Broker,
    out: Path | None,
    *,
    unique_ids: bool = False,
    patience_s: float | None = None,
    say: Say = lambda line: None,
) -> AuditResult:
    """Audit everything the topics still hold. `out`: the folder of scores/ and kept/; None if nothing was exported.

    Memory: about 30 bytes a document. May run beside a running stream: what a committed offset has not reached
    yet is counted as waiting. `patience_s`: how long a transaction may stay open; by default until the broker would
    have ended that of a dead owner. `say` is told what is waited for.
    Raises UsageError(out_missing), DependencyError(topics_missing), ConfigError for a broken policy topic,
    DataLossError(policy_lost) for one whose oldest records are gone.
    """
    reader = await broker.reader()
    try:
        high = await watermarks(project, reader)
        snapshot = await take_snapshot(project, broker, reader, out)
        if out is None and any(first < end for first, end in snapshot.exports.values()):
            raise UsageError(
                "out_missing",
                "documents were exported, and no folder was named",
                "name it: mira-stream audit --out DIR",
            )
        if patience_s is None:
            patience_s = project.settings.broker.transaction_timeout_ms / 1000 + TIMEOUT_SCAN_S
        findings, over = Findings(), asyncio.Event()
        ending = asyncio.create_task(check_ended(reader, high, findings, patience_s, say, over))

        async def ended() -> None:
            over.set()
            await ending

        try:
            return await _audit(project, reader, snapshot, out, unique_ids, findings, ended)
        finally:
            ending.cancel()
            await asyncio.wait({ending})
    finally:
        await reader.close()


async def _audit(
    project: Project,
    reader: LogReader,
    snapshot: Snapshot,
    out: Path | None,
    unique_ids: bool,
    findings: Findings,
    ended: Callable[[], Awaitable[None]],
) -> AuditResult:
    standing, tally = snapshot.standing, Tally()
    origins = Origins(snapshot.documents, standing.unread, {*standing.not_the_first, *standing.anew})
    collector = Collector(reader, snapshot, origins, findings)
    await collector.documents()
    await collector.decisions()
    await collector.dead_letters()
    policies = PolicyLog(project.settings.topics.scores_key)
    for partition, (first, _) in snapshot.policy.items():
        check_whole(partition, first)
    policies.extend([record async for record in each(reader, snapshot.policy)])
    await recompute(reader, snapshot, policies, project.settings.windows, origins, findings, tally)
    files = Files(out or Path(), origins, findings, snapshot.without_content)
    files.read(snapshot.files)
    await files.compare_exports(reader, snapshot.exports, snapshot.given_up)
    duplicates, examples = await collector.duplicate_ids()
    if unique_ids and duplicates:
        findings.add("duplicate_ids", ", ".join(examples), f"{duplicates} ids stand for more than one document")
    lost, waiting = _judge(origins, findings)
    deleted_unread = _deleted_unread(origins, findings)
    _made_anew(snapshot.standing.anew, findings)
    _gone(snapshot.standing.gone, findings)
    _cards_gone(project.topic("scores"), snapshot.standing.cards_gone, findings)
    written_off = snapshot.standing.written_off
    await ended()
    return AuditResult(
        ok=not findings.by_code,
        documents=origins.count(0),
        decisions=origins.count(DECISION),
        dead_letters=origins.count(LETTER),
        dead_letters_at_produce=collector.letters_at_produce,
        waiting=waiting,
        lost=lost,
        deleted_unread=deleted_unread,
        written_off=sum(one.offsets for one in written_off.values()),
        written_off_rests=sum(one.rests for one in written_off.values()),
        written_off_ranges=_named(written_off),
        doubled=origins.count(DOUBLED),
        selected=origins.count(SELECTED),
        cards=tally.cards,
        epochs_recomputed=tally.epochs,
        decisions_recomputed=tally.decisions,
        dead_letters_recomputed=tally.dead_letters,
        windows_recomputed=tally.windows,
        windows_waiting=tally.windows_waiting,
        window_sources_not_compared=len(tally.windows_changed),
        different=sum(count for code, count in findings.by_code.items() if code in DIFFERENCES),
        files=sum(map(len, snapshot.files.values())),
        files_listed=files.listed,
        scores_rows=files.rows["scores"],
        kept_rows=files.rows["kept"],
        not_yet_exported=origins.count(DECISION | UNEXPORTED),
        given_up=_given_up(origins),
        contents_written_off=files.contents_written_off,
        earlier=origins.earlier.outcomes,
        earlier_not_compared=origins.earlier.outcomes > 0 and not origins.earlier.is_compared,
        duplicate_ids=duplicates,
        duplicate_id_examples=examples,
        findings_by_code=dict(sorted(findings.by_code.items())),
        findings=findings.kept,
    )


def _judge(origins: Origins, findings: Findings) -> tuple[int, int]:
    """What only shows when all marks are set; (lost, waiting) documents."""
    lost = waiting = 0
    untouched = {partition for partition, ground in origins.grounds.items() if ground.is_untouched()}
    for ground, offset in origins.where(0, without=DECISION | LETTER):
        if ground.has(offset, WAITS) or ground.partition in untouched:
            waiting += 1
            continue
        lost += 1
        seen = "its card has no decision" if ground.has(offset, CARD) else "it has no card"
        findings.add("lost", ground.name(offset), f"neither decision nor dead letter; {seen}")
    for ground, offset in origins.where(DECISION, without=CARD):
        findings.add("decision_without_card", ground.name(offset), "no score card is in the score log")
    for ground, offset in origins.where(LETTER | AGGREGATE, without=CARD):
        findings.add("dead_letter_without_card", ground.name(offset), "no score card is in the score log")
    for ground, offset in origins.where(LETTER | CARD, without=AGGREGATE):
        findings.add("card_and_dead_letter", ground.name(offset), "the scorer wrote both")
    for ground, offset in origins.where(DECISION, without=SCORES_ROW | UNEXPORTED | GIVEN_UP):
        findings.add("decision_not_exported", ground.name(offset), "no row of scores/ is for it")
    for ground, offset in origins.where(SELECTED, without=KEPT_ROW | UNEXPORTED | GIVEN_UP):
        findings.add("selected_not_exported", ground.name(offset), "no row of kept/ is for it")
    return lost, waiting


def _deleted_unread(origins: Origins, findings: Findings) -> int:
    """Offsets that were deleted before the scorer had read them, and that nobody has given up yet."""
    deleted = 0
    for (topic, number), first, last, left in origins.deleted_unread():
        deleted += left
        detail = (
            f"offsets {first} to {last} are deleted, and {left} of them have neither card nor outcome (markers of"
            f" transactions may be among them); the scorer has committed {first}. do: restore the topic with every"
            " record at its offset, or go on without them: mira-stream score --accept-loss, which writes them off"
        )
        findings.add("deleted_unread", f"{topic}/{number}@{first}", detail)
    return deleted


def _made_anew(anew: Mapping[TopicPartition, int], findings: Findings) -> None:
    """Logs of which something may have been unread, and nobody has written that off yet."""
    for (topic, number), next_offset in anew.items():
        detail = (
            f"the topic was deleted and made anew: the one before was finished up to {next_offset}, and what stood"
            f" behind that is gone. do: if it was restored, mira-stream offsets --same-topic {topic} --yes; else go on"
            " in the new one: mira-stream score --accept-loss, which writes off the rest of the old one"
        )
        findings.add("topic_made_anew", f"{topic}/{number}", detail)


def _gone(gone: Mapping[TopicPartition, int], findings: Findings) -> None:
    """Logs that are there no more, of which something may have been unread."""
    for (topic, number), next_offset in gone.items():
        detail = (
            f"the topic is deleted: it was finished up to {next_offset}, and what stood behind that is gone. do:"
            " restore it, or let mira-stream up make it anew, and then see what this says"
        )
        findings.add("topic_missing", f"{topic}/{number}", detail)


def _cards_gone(scores: str, cards_gone: Mapping[TopicPartition, int], findings: Findings) -> None:
    """Documents that were scored, and may have been read by nobody before their cards were gone."""
    for (topic, number), next_offset in cards_gone.items():
        detail = (
            f"{scores} was deleted or made anew: cards of documents up to offset {next_offset} were in the one before."
            f" do: if it was restored, mira-stream offsets --same-topic {scores} --yes; if an aggregator has read the"
            " one before, begin anew under another [project] prefix; if none ever has, mira-stream score"
            " --accept-loss, which writes them off, then mira-stream produce files SOURCE --missing"
        )
        findings.add("topic_made_anew", f"{topic}/{number}", detail)


def _named(written_off: Mapping[TopicPartition, WrittenOff]) -> list[str]:
    """Each range as topic/partition@first-last."""
    return [
        f"{topic}/{number}@{first}-{'' if last is None else last}"
        for (topic, number), one in written_off.items()
        for first, last in one.ranges
    ]


def _given_up(origins: Origins) -> int:
    """Decisions that lack a row which was given up."""
    without_scores = origins.where(DECISION | GIVEN_UP, without=SCORES_ROW | UNEXPORTED)
    without_content = origins.where(SELECTED | SCORES_ROW | GIVEN_UP, without=KEPT_ROW | UNEXPORTED)
    return sum(1 for _ in without_scores) + sum(1 for _ in without_content)
