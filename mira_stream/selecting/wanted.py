"""What a project's files ask for: policies of mira.toml, and a mask for each source from reliability/ and labels/."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.messages import Mask, Mode, Policy, Prior
from mira_stream.quality import lens
from mira_stream.reliability.acceptance import ServedModes, served_modes
from mira_stream.reliability.table import Table, load_table_with_hash
from mira_stream.rubric.anchors import load_rubric
from mira_stream.selecting.changing import share_of
from mira_stream.selecting.masks import HeldOut, Measured, mask_of, prior_for

LineageOf = Callable[[Project, str], str]
"""(project, group) -> the lineage of that group's score cards (`scoring.lineage.lineage`)."""
ReadColumns = Callable[[Path, Sequence[str]], Mapping[str, Sequence[Any]]]
"""(Parquet file, columns) -> values by column name (`parquet.read_columns`)."""


class ProjectPolicy(NamedTuple):
    """What a project asks for, by key (`*`, `source:s`), and what a person should know about it."""

    records: list[tuple[str, Policy | Mask]]
    warnings: list[str]


def project_policies(project: Project, lineage_of: LineageOf, read_columns: ReadColumns) -> ProjectPolicy:
    """Policies of mira.toml, and a mask for each of its sources from reliability/ and labels/.

    Raises ConfigError: scope_too_wide, retention_shared, budget_invalid, lineage_mismatch (the table is another
    student's), labels_mismatch, mode_unmeasured, limits_mismatch, too_few_dimensions, and what reading the project's
    files raises.
    """
    settings = project.settings
    retention = settings.retention
    check_scope(retention.scope, settings.topics.scores_key, "[retention] scope")
    share = share_of(retention.budget_tokens, retention.expected_tokens, ConfigError)
    if share is not None and retention.unit != "tokens":
        raise ConfigError("budget_invalid", "[retention] budget_tokens counts tokens", 'set unit = "tokens" beside it')
    everywhere = Policy(
        retention=retention.target if share is None else share,
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
        modes = served_modes(project, group)
        warnings += [f"group {group}, {line}" for line in modes.said]
        judged = _Judged(modes, lineage_of, read_columns)
        rubric = rubric_under(project)(group)
        warnings += _warnings(group, judged.of(modes.project)[1])
        for source in sources:
            lineage, measured = judged.of(modes.project_of(settings.sources[source].like or source))
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
            model = settings.sources[own.like] if own.like else own
            mask = mask_of(
                own.like or source,
                group,
                lineage,
                measured,
                settings.mask,
                add=own.mask_add or model.mask_add,
                remove=own.mask_remove or model.mask_remove,
            )
            records.append((f"source:{source}", replace(mask, source=source, rubric=rubric)))
    return ProjectPolicy(records, warnings)


def check_scope(scope: str | None, scores_key: str, where: str) -> None:
    """Refuse a threshold wider than one partition of the score log. Raises ConfigError(scope_too_wide)."""
    if scope == "global" and scores_key != "all":
        raise ConfigError(
            "scope_too_wide",
            f"{where} = 'global', but scores_key = {scores_key!r} puts groups into partitions of their own",
            'use scope "group", or set [topics] scores_key = "all" before the stream\'s first card',
        )


class _Judged:
    """(lineage, measurements) of a group in each of the modes that its sources are judged in."""

    def __init__(self, modes: ServedModes, lineage_of: LineageOf, read_columns: ReadColumns) -> None:
        self._group = modes.group
        self._lineage_of = lineage_of
        self._read_columns = read_columns
        self._known: dict[Mode, tuple[str, Measured | None]] = {}

    def of(self, project: Project) -> tuple[str, Measured | None]:
        mode = project.settings.groups[self._group].mode
        if mode not in self._known:
            lineage = self._lineage_of(project, self._group)
            self._known[mode] = lineage, _measured(project, self._group, lineage, self._read_columns)
        return self._known[mode]


def prior_under(project: Project, lineage_of: LineageOf, read_columns: ReadColumns) -> Callable[[Mask], Prior | None]:
    """Finds how the held-out cards of a mask's source are spread under any mask of the project's present lineages."""

    def prior_of_mask(mask: Mask) -> Prior | None:
        if mask.group not in project.settings.groups:
            return None
        section = project.settings.sources.get(mask.source)
        source = section.like if section is not None and section.like else mask.source
        judging = served_modes(project, mask.group).project_of(source)
        if lineage_of(judging, mask.group) != mask.lineage:
            return None
        measured = _measured(judging, mask.group, mask.lineage, read_columns)
        return None if measured is None else prior_for(source, measured.held_out, lens(mask))

    return prior_of_mask


def rubric_under(project: Project) -> Callable[[str], str | None]:
    """Finds what the slots of a group mean: the version of its rubric; None without one."""

    def rubric_of(group: str) -> str | None:
        path = project.rubric_path(group)
        return load_rubric(path).version if path.is_file() else None

    return rubric_of


def mask_under(project: Project, lineage_of: LineageOf, read_columns: ReadColumns) -> Callable[[str, str], Mask]:
    """Makes the mask of a source that was not measured: its group's verdicts, its group's prior."""

    def mask_for(source: str, group: str) -> Mask:
        if group not in project.settings.groups:
            raise ConfigError("group_missing", f"mira.toml has no group {group!r}", "name the stream's own project")
        judging = served_modes(project, group).project_of(source)
        lineage = lineage_of(judging, group)
        mask = mask_of(source, group, lineage, _measured(judging, group, lineage, read_columns), project.settings.mask)
        return replace(mask, rubric=rubric_under(project)(group))

    return mask_for


def _measured(project: Project, group: str, lineage: str, read_columns: ReadColumns) -> Measured | None:
    path = project.reliability_path(group)
    if not path.is_file():
        return None
    table, table_sha256 = load_table_with_hash(path)
    _check(project, group, path, table, lineage)
    mode, labels = table.modes[project.settings.groups[group].mode], project.labels_path(group)
    _check_labels(labels, mode.labels_sha256 or table.labels_sha256, group)
    return Measured(mode, table_sha256, _held_out(labels, table.split, mode.scores_column, read_columns))


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


def _held_out(path: Path, split: str, column: str, read_columns: ReadColumns) -> HeldOut:
    """Rows of the split that the table was measured on, with the scores of `column`; none if there are no labels."""
    by_source: dict[str, list[Sequence[float | None]]] = {}
    if path.is_file():
        columns = read_columns(path, ("source", "split", column))
        for source, row_split, scores in zip(*(columns[name] for name in ("source", "split", column)), strict=True):
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
