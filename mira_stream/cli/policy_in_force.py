"""What of `mira.policy` is in force, source by source, as `mira-stream policy show` tells it."""

from typing import Any

import typer

from mira_stream.config import Project
from mira_stream.selecting.changing import floor_keys, in_force_of, masks_under
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.policies import PolicyLog
from mira_stream.streaming.ports import Broker


async def read_log(project: Project, broker: Broker) -> PolicyLog:
    """The topic, read to its end. Raises ConfigError(policy_missing)."""
    reader = await broker.reader()
    try:
        follower = PolicyFollower(project.topic("policy"), reader, project.settings.topics.scores_key)
        await follower.start()
        return follower.log
    finally:
        await reader.close()


def rows_of(log: PolicyLog, key: str) -> list[dict[str, Any]]:
    """One object a source that `key` speaks of: its mask, threshold and settings, each with the key that says so.
    `older`: its masks in lineages it had before, for cards of scorers that are still at work there, the last first."""
    rows = []
    for mask in masks_under(log, key):
        rules, values = in_force_of(log, mask)
        rows.append(
            {
                "source": mask.source,
                "group": mask.group,
                "lineage": mask.lineage,
                "mask": mask.mask,
                "mask_by": mask.by,
                "dimensions": mask.dimensions,
                "has_prior": mask.prior is not None,
                "older": [
                    {"lineage": one.lineage, "mask": one.mask, "mask_by": one.by, "dimensions": one.dimensions}
                    for one in reversed(log.masks_of(mask.group, mask.source)[:-1])
                ],
                "threshold_of": rules.scope.of,
                "policy": rules.version,
                "floor_keys": floor_keys(log, mask),
                "values": {name: value._asdict() for name, value in values.items()},
            }
        )
    return rows


def say_rows(rows: list[dict[str, Any]]) -> None:
    """Two lines a source: whose threshold and which mask; each setting and the key that says so. One more for each
    lineage it had before: which mask cards of that have."""
    names = {
        "retention": "retention",
        "unit": "unit",
        "band": "band",
        "horizon_documents": "horizon",
    }
    for row in rows:
        whose = f"threshold of {row['threshold_of']}, version {row['policy']}"
        typer.echo(f"{row['source']}  ({whose}; {_mask_line(row)})")
        said = [
            f"{shown} {_short(row['values'][name]['value'])} ({row['values'][name]['key']})"
            for name, shown in names.items()
        ]
        floors = [f"{slot}={row['values']['floors']['value'][slot]:g} ({of})" for slot, of in row["floor_keys"].items()]
        typer.echo(f"    {', '.join([*said, 'floors ' + (' '.join(floors) or 'none')])}")
        for older in row["older"]:
            typer.echo(f"    cards of an older lineage: {_mask_line(older)}")


def _mask_line(row: dict[str, Any]) -> str:
    return f"lineage {row['lineage']}, mask {row['mask']}: {len(row['dimensions'])} of 15, by {row['mask_by']}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
