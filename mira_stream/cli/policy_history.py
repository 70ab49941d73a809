"""All versions that `mira.policy` ever had, as `mira-stream policy history` tells them."""

from datetime import UTC, datetime
from typing import Any, Final

import typer

from mira_stream.cli.explain import printable
from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.messages import Mask, Policy
from mira_stream.records import Record, TopicPartition
from mira_stream.selecting.changing import changes_between
from mira_stream.selecting.policies import read_policy, skipped
from mira_stream.selecting.skipping import read_all
from mira_stream.streaming.ports import Broker

SHOWN: Final = (
    *("retention", "unit", "band", "threshold_scope", "horizon_documents", "floors", "mask_add", "mask_remove"),
    *("group", "like", "mode", "skips", "lineage", "dimensions", "means", "trim"),
)
"""Changes that history shows to people; --json shows all."""
SKIPPED: Final = "skipped"
INVALID: Final = "invalid"
"""Kinds of records that cannot be put in force: passed over by `policy skip`, or still in the way."""


async def read_history(project: Project, broker: Broker) -> list[dict[str, Any]]:
    """One object a record, in the order of the topic."""
    reader = await broker.reader()
    try:
        records = await read_all(reader, TopicPartition(project.topic("policy"), 0))
        return _versions(records, project.settings.topics.scores_key)
    finally:
        await reader.close()


def _versions(records: list[Record], scores_key: str) -> list[dict[str, Any]]:
    passed_over = skipped(records)
    before: dict[tuple[str, str], Policy | Mask] = {}
    versions = []
    for record in records:
        key = (record.key or b"").decode(errors="replace")
        time = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(timespec="seconds")
        one: dict[str, Any] = {"version": record.offset, "time": time, "key": key}
        try:
            message = read_policy(record, scores_key)
        except ConfigError as problem:
            kind = SKIPPED if record.offset in passed_over else INVALID
            versions.append(one | {"kind": kind, "by": None, "note": problem.cause, "changed": {}})
            continue
        place = (key, message.lineage if isinstance(message, Mask) else "")
        versions.append(
            one
            | {
                "kind": "mask" if isinstance(message, Mask) else "policy",
                "by": message.by,
                "note": "" if isinstance(message, Mask) else message.note,
                "changed": changes_between(before.get(place), message),
            }
        )
        before[place] = message
    return versions


def say_versions(versions: list[dict[str, Any]]) -> None:
    """A line a version: when, under which key and what changed; below it why."""
    for one in versions:
        changed = ", ".join(_said_change(name, *pair) for name, pair in one["changed"].items() if name in SHOWN)
        changed = changed or ("" if one["kind"] in (SKIPPED, INVALID) else "nothing changed")
        key = printable(one["key"])
        typer.echo(f"{one['version']:>5}  {one['time']}  {key:24} {one['kind']:7} {changed}".rstrip())
        if one["note"]:
            typer.echo(f"{'':7}{printable(one['note'])}")


def _said_change(name: str, before: Any, after: Any) -> str:
    if name != "dimensions":
        return f"{name} {after}" if before is None else f"{name} {before} -> {after}"
    if before is None:
        return f"{len(after)} of 15 dimensions"
    return " ".join(
        [*(f"+{slot}" for slot in after if slot not in before), *(f"-{s}" for s in before if s not in after)]
    )
