"""What `mira-stream reliability` does: the student's scores of held-out views, the table, the report."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from mira_stream.cli.output import talk
from mira_stream.cli.served import ask_served, measured
from mira_stream.config import Project
from mira_stream.distill.labels import SCHEMA, Label, check_prompt, check_rubric, columns
from mira_stream.distill.labels import rows as label_rows
from mira_stream.errors import CheckFailed, ConfigError
from mira_stream.messages import SLOTS, Mode
from mira_stream.parquet import column_names, read_columns, read_metadata, write_table
from mira_stream.prompt import Prompt, load_prompt
from mira_stream.reliability.acceptance import with_acceptance
from mira_stream.reliability.cascading import cascaded
from mira_stream.reliability.measure import (
    MEASURED_SCHEMA,
    Measured,
    Terms,
    measure,
    measured_columns,
    terms_of,
)
from mira_stream.reliability.report import render_report
from mira_stream.reliability.retest import View
from mira_stream.reliability.table import (
    WHOLE_GROUP,
    Kept,
    ModeReliability,
    Retest,
    Table,
    keep_modes,
    load_table,
    save_table,
)
from mira_stream.reliability.warnings import HELDOUT
from mira_stream.render import cut
from mira_stream.rubric.anchors import Rubric
from mira_stream.scorecard import check_mode, read_outputs
from mira_stream.scoring.lineage import lineage
from mira_stream.scoring.origin import check_origin, check_there
from mira_stream.scoring.tokenizer import StudentTokenizer, tokenize_bytes
from mira_stream.whole_file import replace_file

NEEDED: Final = ("id", "source", "split", "window", "cut", "view", "scores", "overall", "recommendation")
SCORE_MAX: Final = 10
CHEAP_COLUMN: Final = "cheap_scores"
FULL_COLUMN: Final = "full_scores"
SLOWER_COLUMN: Final = "slower_{mode}"
FLOATS: Final[Literal["floats"]] = "floats"
ROUND: Final = 200
"""Views a student's weights are run over before a line says how far it is."""


class HeldOut(NamedTuple):
    """A file of labels: all its rows, and the held-out ones that are measured."""

    path: Path
    metadata: Mapping[str, str]
    labels: list[Label]
    measured: list[Label]

    @property
    def teacher(self) -> str:
        """Who gave the labels; labels of earlier versions do not say."""
        return self.metadata.get("teacher", "")

    @property
    def mode(self) -> Mode | None:
        """In which mode they were given."""
        match self.metadata.get("mode"):
            case "scores" | "rationale" | "expected" as mode:
                return mode
            case _:
                return None

    @property
    def temperature(self) -> float | None:
        """At which the teacher was asked; labels of earlier versions do not say."""
        try:
            return float(self.metadata["temperature"])
        except (KeyError, ValueError):
            return None

    def views(self) -> list[View]:
        return [View(label.id, label.source, label.view, label.scores) for label in self.measured]


class Measurement(NamedTuple):
    """What was written; `compared`: the modes that were compared with the slowest one, that of the group first."""

    table: Table
    mode: Mode
    compared: tuple[Mode, ...]
    dropped: tuple[str, ...]
    report: Path


def read_held_out(path: Path, rubric: str, prompt: Prompt, command: str) -> HeldOut:
    """`command`: what labels the group. Raises ConfigError: labels_without_views, rubric_mismatch, prompt_mismatch,
    labels_invalid, labels_missing, and what reading raises."""
    names = column_names(path)
    if "view" not in names and "student_scores" in names:
        raise ConfigError(
            "labels_without_views",
            f"{path} keeps what was measured, without the views a student could be asked about",
            "name the file that mira-stream label wrote with --labels (its own is work/labels-<group>.parquet)",
        )
    metadata = read_metadata(path)
    check_rubric(path, metadata, rubric, command)
    check_prompt(path, metadata, prompt.files_sha256, command)
    table = read_columns(path, [name for name in SCHEMA if name in names or name in NEEDED])
    try:
        labels = label_rows(table, lambda row: msgspec.convert(row, Label))
    except msgspec.ValidationError as error:
        raise ConfigError("labels_invalid", f"{path}: {error}", f"label anew: {command} --anew") from None
    held_out = [label for label in labels if label.split == "heldout"]
    for label in held_out:
        if len(label.scores) != len(SLOTS) or not all(0 <= score <= SCORE_MAX for score in label.scores):
            cause = f"{path}: {label.id} has no fifteen scores from 0 to {SCORE_MAX}"
            raise ConfigError("labels_invalid", cause, f"label anew: {command} --anew")
    if not held_out:
        raise ConfigError("labels_missing", f"{path} has no held-out labels", f"{command} --heldout {HELDOUT}")
    return HeldOut(path, metadata, labels, held_out)


def check_student(project: Project, group: str, rubric: Rubric) -> None:
    """Raises ConfigError for a mode that cannot be measured, a student that is not there, or one of another group or
    rubric."""
    check_there(project, group)
    for stage in project.settings.groups[group].stages:
        check_mode(stage.layout, stage.mode, constrained=stage.constrained)
        check_origin(project.judged_as(group, stage), group, rubric)


def measure_group(
    project: Project,
    group: str,
    held_out: HeldOut,
    rubric: Rubric,
    retest: Retest | None,
    *,
    threads: int = 2,
    served: bool = False,
) -> Measurement:
    """Ask the student about the held-out views; write labels/<group>.parquet, reliability/<group>.json, the report.

    `retest`: a new one, else None: the one before is kept while it is of this rubric, prompt and teacher. A student
    behind an endpoint, or one whose reasons stand within its scores, is always asked as it is `served`.
    """
    check_student(project, group, rubric)
    _check_place(project.labels_path(group), held_out.path)
    settings = project.settings
    mode = settings.groups[group].mode
    before = _table_before(project.reliability_path(group))
    now = lineage(project, group)
    section = settings.groups[group]
    served = served or section.engine == "openai" or section.layout == "interleaved"

    def ask(judging: Project, of: HeldOut = held_out) -> list[Measured]:
        return ask_student(judging, group, of, rubric, threads, served)

    *before_it, full = [project.judged_as(group, stage) for stage in settings.groups[group].stages]
    rows = ask(full)
    if not rows:
        raise CheckFailed(
            "student_unreadable",
            f"no reply to {len(held_out.measured)} held-out views had all fifteen scores",
            "see that student, template and rubric belong together",
        )
    path, terms = project.labels_path(group), terms_of(settings, group)

    def table_of(rows: Sequence[Measured], mode: Mode, labels: bytes) -> Table:
        own = terms._replace(unread=len(held_out.measured) - len(rows))
        return measure(
            rows, group=group, rubric=rubric.version, lineage=_lineage_in(project, group, mode), labels=labels,
            mode=mode, terms=own,
        )  # fmt: skip

    extra: dict[str, dict[tuple[str, str], Sequence[float]]] = {}
    slower: dict[Mode, list[Measured]] = {}
    columns: dict[Mode, str] = {}
    if before_it:
        cheap, full_mode = before_it[0], full.settings.groups[group].mode
        slower[full_mode], columns[full_mode] = rows, FULL_COLUMN
        given = _by_document(ask(cheap, first_views(cheap, group, held_out)))
        stage = table_of(rows, full_mode, b"").modes[full_mode]
        rows = cascaded(rows, given, stage, terms, settings.groups[group].cascade.loss)
        extra = {CHEAP_COLUMN: given}
    for judging in _slower(project, group):
        one = judging.settings.groups[group].mode
        if one not in slower:
            slower[one], columns[one] = ask(judging), SLOWER_COLUMN.format(mode=one)
    extra |= {columns[one]: _by_document(found) for one, found in slower.items()}
    _write_measured(path, held_out, rows, {"mode": mode, "lineage": now}, extra)
    table = table_of(rows, mode, path.read_bytes())
    parts = {
        one: replace(table_of(found, one, b"").modes[one], scores_column=columns[one])
        for one, found in slower.items()
        if found
    }
    table = replace(table, modes=_accepted({**table.modes, **parts}, {mode: rows, **slower}, terms))
    kept = _keep(project, group, table, before)
    teacher = held_out.teacher or settings.teacher.model
    prompt = load_prompt(project.prompts_path(group), rubric).files_sha256
    table = replace(kept.table, retest=retest or _retest_before(before, rubric.version, teacher, prompt))
    save_table(project.reliability_path(group), table)
    report = project.root / "reports" / f"reliability-{group}.html"
    replace_file(report, render_report(table, mode, rubric.names, rows, teacher).encode())
    compared = tuple(one for one in (mode, *parts) if table.modes[one].sources[WHOLE_GROUP].acceptance is not None)
    return Measurement(table, mode, compared, kept.dropped, report)


def _slower(project: Project, group: str) -> list[Project]:
    """The project in each of the modes that a source may fall back to, as far as there is a student for it."""
    slower = [project.judged_as(group, section) for section in project.settings.groups[group].slower_in_turn]
    return [
        one
        for one in slower
        if one.settings.groups[group].engine == "openai" or (one.served_path(group) / "config.json").is_file()
    ]


def _accepted(
    parts: Mapping[Mode, ModeReliability], rows: Mapping[Mode, list[Measured]], terms: Terms
) -> dict[Mode, ModeReliability]:
    """Each mode but the slowest, the last of `rows`, compared with that one; none if no reply of it was read."""
    slowest = [*rows][-1]
    if slowest not in parts:
        return {**parts}
    return {
        mode: part
        if mode == slowest
        else with_acceptance(part, rows[mode], parts[slowest], rows[slowest], slowest, terms)
        for mode, part in parts.items()
    }


def _lineage_in(project: Project, group: str, mode: Mode) -> str:
    section = replace(project.settings.groups[group], mode=mode)
    return lineage(project.judged_as(group, section), group)


def first_views(project: Project, group: str, held_out: HeldOut) -> HeldOut:
    """The same documents as a cascade's cheap stage is shown them: the first tokens of their views."""
    tokenizer, budget = project.student_path(group) / "tokenizer.json", project.settings.groups[group]
    tokenize = StudentTokenizer(tokenizer.parent).tokenize if tokenizer.is_file() else tokenize_bytes
    most = budget.document_tokens_max
    shorter = [replace(label, view=cut(label.view, tokenize, most, most, "head").text) for label in held_out.measured]
    return held_out._replace(measured=shorter)


def _by_document(rows: Sequence[Measured]) -> dict[tuple[str, str], Sequence[float]]:
    return {(row.source, row.id): row.student_scores for row in rows}


def ask_student(
    project: Project, group: str, held_out: HeldOut, rubric: Rubric, threads: int, served: bool
) -> list[Measured]:
    """The student's scores beside the teacher's, of views it gave all fifteen for.

    `served`: by the engine that mira.toml names, as the scorer asks it; else its weights are run here, greedily.
    Raises ConfigError without a student, and what asking an engine raises.
    """
    labels = held_out.measured
    talk.print(f"{group}: the student judges {len(labels)} held-out views", markup=False)
    if served:
        from mira_stream.consumers.scorer import build_engine

        return asyncio.run(ask_served(project, group, rubric, labels, build_engine(project, group)))
    prompt = load_prompt(project.prompts_path(group), rubric)
    found: list[Measured] = []
    for start in range(0, len(labels), ROUND):
        part = labels[start : start + ROUND]
        given = _own_scores(project, group, prompt, part, threads)
        found += [measured(label, scores) for label, scores in zip(part, given, strict=True)]
        talk.print(f"{group}: {len(found)} of {len(labels)} views scored", markup=False)
    return found


def _own_scores(
    project: Project, group: str, prompt: Prompt, labels: Sequence[Label], threads: int
) -> list[list[float]]:
    """What the student's weights give, run here in the group's mode."""
    from mira_stream.distill.run import head_scores, student_scores

    folder, mode = project.served_path(group), project.settings.groups[group].mode
    if mode != "head":
        return student_scores(folder, prompt, labels, threads, expected=mode == "expected")
    found = []
    for label, outputs in zip(labels, head_scores(folder, prompt, labels, threads), strict=True):
        scores = [score for score in read_outputs(outputs).scores if score is not None]
        if len(scores) != len(SLOTS):
            raise CheckFailed(
                "student_unreadable",
                f"{folder}: its outputs for {label.id} are no numbers",
                f"train it anew: mira-stream distill --head --group {group}",
            )
        found.append(scores)
    return found


def _check_place(path: Path, measured_from: Path) -> None:
    """The measured rows never take the place of other labels with their views: those were paid for."""
    if path.exists() and not path.samefile(measured_from) and "view" in column_names(path):
        raise ConfigError(
            "labels_in_the_way",
            f"{path} holds labels with their views, and {measured_from} is measured",
            "measure without --labels, or move that file away",
        )


def _write_measured(
    path: Path,
    held_out: HeldOut,
    rows: Sequence[Measured],
    about: Mapping[str, str],
    extra: Mapping[str, Mapping[tuple[str, str], Sequence[float]]],
) -> None:
    """The measured rows alone; or, if the labels themselves stand in this file, all of them with the student's.
    `extra`: further columns of scores."""
    metadata = {**held_out.metadata, **{f"student_{name}": value for name, value in about.items()}}
    if not (path.exists() and path.samefile(held_out.path)):
        beside = {name: [given.get((row.source, row.id)) for row in rows] for name, given in extra.items()}
        schema = {**MEASURED_SCHEMA, **dict.fromkeys(extra, FLOATS)}
        write_table(path, schema, {**measured_columns(rows), **beside}, metadata)
        return
    student: dict[str, list[object]] = {
        name: [given.get((label.source, label.id)) if label.split == "heldout" else None for label in held_out.labels]
        for name, given in {"student_scores": _by_document(rows), **extra}.items()
    }
    whole = {**SCHEMA, **dict.fromkeys(student, FLOATS)}
    write_table(path, whole, {**columns(held_out.labels), **student}, metadata)


def _table_before(path: Path) -> Table | None:
    """The table that is there; one that cannot be read is put anew, and said so."""
    try:
        return load_table(path)
    except ConfigError as error:
        if error.code != "reliability_missing":
            talk.print(f"{error.cause}: written anew", markup=False, soft_wrap=True)
        return None


def _keep(project: Project, group: str, table: Table, before: Table | None) -> Kept:
    lineages: dict[Mode, str] = {}
    for mode in [] if before is None else before.modes:
        if mode not in table.modes:
            with suppress(ConfigError):  # a head whose folder is gone cannot be run any more, and is dropped
                lineages[mode] = _lineage_in(project, group, mode)
    return keep_modes(table, before, lineages)


def _retest_before(before: Table | None, rubric: str, teacher: str, prompt: str) -> Retest | None:
    """One of an earlier version does not say its prompt."""
    if before is None or before.retest is None or before.rubric != rubric:
        return None
    found = before.retest
    return found if found.teacher == teacher and found.prompt in ("", prompt) else None
