"""What a run will do, said before it does it, and what of it must be agreed to: labels that were paid for are not
asked for again because a file has changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.distill.labels import check_prompt, check_rubric, label_command
from mira_stream.errors import CheckFailed, ConfigError
from mira_stream.parquet import column_names, read_metadata
from mira_stream.pipeline.record import Record, State
from mira_stream.pipeline.steps import Step, label_journal, labels_file
from mira_stream.prompt import load_prompt
from mira_stream.reliability.table import load_table
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.origin import check_origin
from mira_stream.scoring.student import student_config
from mira_stream.teaching import Price
from mira_stream.teaching.journal import tokens_of


class Planned(NamedTuple):
    """A step and how it stands. `follows`: due if what a step before it makes is new; `later`: not known in detail."""

    step: str
    state: State | Literal["follows", "later"]
    why: str


def plan_steps(
    record: Record, steps: Sequence[Step], all_steps: Sequence[Step] = (), before: Mapping[Path, str] | None = None
) -> list[Planned]:
    """Steps of one group, in order. `all_steps`: also those that are not to be run; `before`: files that earlier steps
    will make, and who does."""
    found: list[Planned] = []
    makers = dict(before or {})
    for step in steps:
        state, why = record.among(step, all_steps)
        maker = next((makers[path] for path in step.inputs if path in makers), None)
        if state == "done" and maker is not None and not step.stays:
            found.append(Planned(step.name, "follows", f"due if {maker} makes something new"))
        else:
            found.append(Planned(step.name, state, explained(step, state, why)))
        if found[-1].state in ("due", "follows"):
            makers |= dict.fromkeys((*step.outputs, *step.watched), step.name)
    return found


def explained(step: Step, state: State, why: str) -> str:
    """Why a step stands as it does, and for one that is passed over what would change that."""
    another = "--rediscover makes another rubric" if step.stage == "discover" else "--anew makes another"
    match state:
        case "done":
            return "up to date"
        case "given":
            return f"given, {why}: taken as it is, until it is removed ({another})"
        case "kept":
            return f"kept, {why}: the rubric stays, what is new is labelled with it ({another})"
        case "unneeded":
            return f"nothing reads it: {why} (remove the group's student or table, and it is made)"
        case "due":
            return why or ("not all sources are in a group" if step.stage == "group" else "")


def check_labels_place(project: Project, group: str) -> None:
    """Raises ConfigError(labels_in_the_way): measured labels will stand in labels/, those with views in work/."""
    path, whole = project.labels_path(group), labels_file(project, group)
    if path.is_file() and "view" in column_names(path):
        raise ConfigError(
            "labels_in_the_way",
            f"{path} holds labels with their views; the pipeline keeps its own in {whole}",
            f"mv {path} {whole}" if not whole.exists() else f"move {path} away: {whole} is there, too",
        )


def check_given(project: Project, group: str, record: Record, steps: Sequence[Step]) -> None:
    """Labels, a student and a table that other hands made belong to the rubric and prompt that are there, or nothing is
    paid.

    Raises ConfigError: what `check_origin` raises, rubric_mismatch, prompt_mismatch, reliability_rubric, given_rubric
    (the rubric is yet to be made).
    """
    given = [step for step in steps if record.state(step) == "given"]
    coming = any(step.stage == "discover" and record.state(step) == "due" for step in steps)
    path = project.rubric_path(group)
    _check_labels(project, group, record, steps, None if coming else path)
    try:
        for step in given:
            if step.stage == "distill" and step.group == group:
                _check_student(project, step, None if coming else path)
            if step.stage == "reliability" and project.reliability_path(group).is_file():
                _check_table(project, group, None if coming else path)
    except ConfigError as error:
        made = ", ".join(str(one) for one in (project.served_path(group), project.reliability_path(group)))
        fix = f"{error.fix}; or move {made} away: the pipeline then makes them for the rubric and prompt that are there"
        raise ConfigError(error.code, error.cause, fix) from None


def _check_labels(project: Project, group: str, record: Record, steps: Sequence[Step], rubric: Path | None) -> None:
    """Labels that a step is to go on with. Those that the pipeline would put aside are `void_labels`."""
    path = labels_file(project, group)
    due = [step for step in steps if record.state(step) == "due" and (step.stage == "label" or path in step.inputs)]
    label = next((step for step in steps if step.stage == "label"), None)
    if not due or label is None or not path.is_file():
        return
    said, again = read_metadata(path), label_command(project.root, group)
    if rubric is None:
        if not record.begun(label) and "rubric" in said:
            raise _coming(str(path), said["rubric"], f"put it back, or move {path} away")
        return
    if not rubric.is_file() or record.is_void(label):
        return
    now, prompts = load_rubric(rubric), project.prompts_path(group)
    check_rubric(path, said, now.version, again)
    if all((prompts / name).is_file() for name in ("system.txt", "user.txt")):  # else the shipped ones are to come
        check_prompt(path, said, load_prompt(prompts, now).files_sha256, again)


def _check_student(project: Project, step: Step, rubric: Path | None) -> None:
    folder, group = step.outputs[0].parent, str(step.group)
    section = project.settings.groups[group]
    if rubric is None:
        said = student_config(folder).get("mira")
        if isinstance(said, dict) and "rubric" in said:
            raise _coming(str(folder), str(said["rubric"]))
    elif rubric.is_file():
        served = folder == project.served_path(group)
        for one in section.stages if served else [replace(section, mode=section.lesson_mode)]:
            check_origin(project.judged_as(group, one), group, load_rubric(rubric))


def _check_table(project: Project, group: str, rubric: Path | None) -> None:
    path = project.reliability_path(group)
    measured = load_table(path).rubric
    if rubric is None:
        raise _coming(str(path), measured)
    if rubric.is_file() and measured != (now := load_rubric(rubric).version):
        raise ConfigError(
            "reliability_rubric",
            f"{path} was measured with rubric {measured!r}, this is {now!r}",
            "put that rubric back",
        )


def _coming(what: str, rubric: str, fix: str = "put it back") -> ConfigError:
    return ConfigError("given_rubric", f"{what} is of rubric {rubric!r}, and another is to be discovered", fix)


def void_labels(project: Project, group: str, record: Record, steps: Sequence[Step]) -> str:
    """What was paid for labels that this run would ask for again, and why; empty if nothing was."""
    paid = _paid(project, label_journal(project, group))
    discover = next((step for step in steps if step.stage == "discover"), None)
    label = next((step for step in steps if step.stage == "label"), None)
    if not paid or label is None:
        return ""
    if discover is not None and record.state(discover) == "due":
        return f"{paid}, and its rubric is to be discovered anew"
    if record.state(label) == "due" and record.is_void(label):
        return f"{paid}, and its rubric or prompt is another since"
    return ""


def refused(void: Sequence[str]) -> CheckFailed:
    """The error of a run that nobody has agreed to."""
    return CheckFailed(
        "labels_void",
        f"{'; '.join(void)}: all would be asked for again, at about the same cost",
        "put rubric and prompt back as they were; or agree with --yes, or up to a limit with --max-cost or --max-tokens"
        " (of all runs together)",
    )


def _paid(project: Project, journal: Path) -> str:
    prompt, generation = tokens_of(journal) if journal.is_file() else (0, 0)
    if not prompt + generation:
        return ""
    teacher = project.settings.teacher
    price = Price(teacher.prompt_price, teacher.generation_price)
    cost = f", cost {price.of(prompt, generation):,.2f}" if price.known else ""
    group = journal.name.removeprefix("label-").removesuffix(".journal")
    return f"labels of {group} took {prompt + generation:,} tokens of the teacher{cost}"
