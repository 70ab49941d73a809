"""The project's policy and masks, and how they get into `mira.policy`: in one transaction, and only what changed."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.messages import Mask, Policy, encode
from mira_stream.records import LogReader, Outgoing, TopicPartition
from mira_stream.reliability.table import Table, load_table_with_hash
from mira_stream.selecting.masks import HeldOut, Measured, mask_of
from mira_stream.selecting.policies import PolicyFollower, PolicyLog

LineageOf = Callable[[Project, str], str]
"""(project, group) -> the lineage of that group's score cards (`scoring.lineage.lineage`)."""
ReadColumns = Callable[[Path, Sequence[str]], Mapping[str, Sequence[Any]]]
"""(Parquet file, columns) -> values by column name (`parquet.read_columns`)."""


class ProjectPolicy(NamedTuple):
    """What a project asks for, by key (`*`, `source:s`), and what a person should know about it."""

    records: list[tuple[str, Policy | Mask]]
    warnings: list[str]


class Publication(NamedTuple):
    """How many records were written (0: all was in force already), and the standing warnings."""

    written: int
    warnings: list[str]


class PolicyWriter(Protocol):
    """A TransactionalProducer, as far as it is needed here."""

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None: ...

    async def close(self) -> None: ...


class PolicyBroker(Protocol):
    """A Broker, as far as it is needed here."""

    async def reader(self) -> LogReader: ...

    async def producer(self, transactional_id: str) -> PolicyWriter: ...


def project_policies(project: Project, lineage_of: LineageOf, read_columns: ReadColumns) -> ProjectPolicy:
    """Policies of mira.toml, and a mask for each of its sources from reliability/ and labels/.

    Raises ConfigError: scope_too_wide, retention_shared, lineage_mismatch (the table is another student's),
    labels_mismatch, mode_unmeasured, limits_mismatch, too_few_dimensions, and what reading the project's files raises.
    """
    settings = project.settings
    retention = settings.retention
    check_scope(retention.scope, settings.topics.scores_key, "[retention] scope")
    everywhere = Policy(
        retention=retention.target,
        unit=retention.unit,
        band=retention.band,
        threshold_scope=retention.scope,
        horizon_documents=retention.horizon_documents,
    )
    records: list[tuple[str, Policy | Mask]] = [("*", everywhere)]
    warnings: list[str] = []
    for group in sorted(settings.groups):
        sources = sorted(name for name, source in settings.sources.items() if source.group == group)
        if not sources:
            continue
        lineage = lineage_of(project, group)
        measured = _measured(project, group, lineage, read_columns)
        warnings += _warnings(group, measured)
        for source in sources:
            own = settings.sources[source]
            if own.retention is not None and retention.scope != "source":
                raise ConfigError(
                    "retention_shared",
                    f"[sources.{source}] retention = {own.retention:g}, but [retention] scope = {retention.scope!r}:"
                    " sources that share a threshold have one target",
                    f"leave that retention out, or give the source thresholds of its own:"
                    f" mira-stream policy set source:{source} --scope source --retention {own.retention:g}",
                )
            records.append((f"source:{source}", Policy(retention=own.retention)))
            mask = mask_of(
                source, group, lineage, measured, settings.mask, add=own.mask_add, remove=own.mask_remove
            )  # fmt: skip
            records.append((f"source:{source}", mask))
    return ProjectPolicy(records, warnings)


def check_scope(scope: str | None, scores_key: str, where: str) -> None:
    """Refuse a threshold wider than one partition of the score log. Raises ConfigError(scope_too_wide)."""
    if scope == "global" and scores_key != "all":
        raise ConfigError(
            "scope_too_wide",
            f"{where} = 'global', but scores_key = {scores_key!r} puts groups into partitions of their own",
            'use scope "group", or set [topics] scores_key = "all" before the stream\'s first card',
        )


async def publish(
    broker: PolicyBroker, project: Project, lineage_of: LineageOf, read_columns: ReadColumns
) -> Publication:
    """Put the project's policy in force. Run again without a change, it writes nothing."""
    wanted = project_policies(project, lineage_of, read_columns)
    topic = project.topic("policy")
    # The producer first: it fences a second publisher, so that nobody writes between our reading and our writing.
    producer = await broker.producer(project.topic("policy.publish"))
    try:
        reader = await broker.reader()
        try:
            follower = PolicyFollower(topic, reader)
            await follower.refresh()
        finally:
            await reader.close()
        changed = [(key, message) for key, message in wanted.records if not in_force(follower.log, key, message)]
        if changed:
            outgoing = [Outgoing(topic, key.encode(), encode(message), 0) for key, message in changed]
            await producer.commit(outgoing, {}, None)
    finally:
        await producer.close()
    return Publication(len(changed), wanted.warnings)


def in_force(log: PolicyLog, key: str, message: Policy | Mask) -> bool:
    """Whether the newest record of this key (of a mask: and lineage) says the same."""
    if isinstance(message, Mask):
        return log.newest_mask(message.group, message.source, message.lineage) == message
    return log.newest_policy(key) == message


def _measured(project: Project, group: str, lineage: str, read_columns: ReadColumns) -> Measured | None:
    path = project.reliability_path(group)
    if not path.is_file():
        return None
    table, table_sha256 = load_table_with_hash(path)
    _check(project, group, path, table, lineage)
    mode, labels = table.modes[project.settings.groups[group].mode], project.labels_path(group)
    _check_labels(labels, mode.labels_sha256 or table.labels_sha256, group)
    return Measured(mode, table_sha256, _held_out(labels, table.split, read_columns))


def _check_labels(path: Path, measured_sha256: str, group: str) -> None:
    """A prior is made of the very scores the table was measured on, or not at all."""
    if path.is_file() and measured_sha256 not in ("", sha256(path.read_bytes()).hexdigest()):
        raise ConfigError(
            "labels_mismatch",
            f"{path} is not the file that the table was measured on (another mode, or other labels, came since)",
            f"measure the student again: mira-stream reliability --group {group}",
        )


def _check(project: Project, group: str, path: Path, table: Table, lineage: str) -> None:
    again = f"measure the student again: mira-stream reliability --group {group}"
    mode, limits = project.settings.groups[group].mode, project.settings.mask.limits
    measured = table.modes.get(mode)
    if measured is None:
        raise ConfigError("mode_unmeasured", f"{path} has modes {', '.join(table.modes)}, not {mode}", again)
    if measured.lineage != lineage:
        raise ConfigError(
            "lineage_mismatch",
            f"{path} was measured for lineage {measured.lineage}, group {group} now scores as {lineage}"
            " (its student, prompts, rubric, renderer or settings have changed)",
            again,
        )
    if table.limits != limits:
        raise ConfigError(
            "limits_mismatch",
            f"{path} was judged with mae {table.limits.mae:g}, rho {table.limits.rho:g};"
            f" [mask.limits] says mae {limits.mae:g}, rho {limits.rho:g}",
            again,
        )


def _held_out(path: Path, split: str, read_columns: ReadColumns) -> HeldOut:
    """Rows of the split that the table was measured on; none if the labels are not there."""
    by_source: dict[str, list[Sequence[float | None]]] = {}
    if path.is_file():
        columns = read_columns(path, ("source", "split", "student_scores"))
        for source, row_split, scores in zip(
            *(columns[name] for name in ("source", "split", "student_scores")), strict=True
        ):
            if row_split == split and scores is not None:
                by_source.setdefault(source, []).append(scores)
    return HeldOut(by_source)


def _warnings(group: str, measured: Measured | None) -> list[str]:
    if measured is None:
        return [f"group {group}: no reliability table, so all 15 dimensions count uncentred and no prior is known"]
    said = [
        f"group {group}, source {name}: {warning}"
        for name, source in measured.reliability.sources.items()
        for warning in source.warnings
    ]
    if not measured.held_out.by_source:
        said.append(f"group {group}: no held-out labels, so its sources begin by chance (cold_hash)")
    return said
