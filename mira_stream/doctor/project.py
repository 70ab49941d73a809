"""Facts about a project directory, and the checks made of them: what belongs together is of one lineage."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mira_stream.config import Project
from mira_stream.discovery.templates import CHAT_TOKENS
from mira_stream.doctor import rules
from mira_stream.doctor.machine import api_keys
from mira_stream.doctor.verdict import Check, Verdict, fail, in_thread, ok, skipped, warn
from mira_stream.errors import ConfigError
from mira_stream.prompt import load_prompt
from mira_stream.reliability.acceptance import DOCUMENTS_MIN, served_modes
from mira_stream.reliability.table import load_table
from mira_stream.render import MARKER_TOKENS
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.lineage import lineage
from mira_stream.scoring.origin import check_origin, check_there
from mira_stream.scoring.probe import reply_room
from mira_stream.scoring.student import check_student, student_config

if TYPE_CHECKING:
    from mira_stream.openai_engine import OpenAIEngine

HASHED_BYTES_MAX: Final = 2**30
"""Larger weights are not hashed here: it would take seconds a GB."""


def project_checks(project: Project, environment: Mapping[str, str]) -> list[Check]:
    """Checks of the whole project, then of each group."""
    settings = project.settings
    return [
        _check("sources", lambda: _sources(project)),
        _check("api keys", lambda: api_keys(project, environment)),
        *(check for group in sorted(settings.groups) for check in _group_checks(project, group)),
    ]


def _group_checks(project: Project, group: str) -> list[Check]:
    judges: dict[str, Callable[[Project, str], Verdict]] = {
        "prompt": _prompt,
        "student": _student,
        "origin of the student": _origin,
        "one rubric": _rubric,
        "lineage of the table": _lineage,
        "modes of the sources": _modes,
        "tokenizer": _tokenizer,
        "context": _context,
    }
    asked = {"modes of the sources", "lineage of the table"}

    def judged(name: str) -> Verdict:
        return judges[name](project if name in asked else _as_served(project, group), group)

    checks = [_check(f"{group}: {name}", partial(judged, name)) for name in judges]
    if project.settings.groups[group].engine == "openai":
        checks.append(Check(f"{group}: endpoints", lambda: _endpoints(project, group)))
    return checks


def _as_served(project: Project, group: str) -> Project:
    """With the group in the mode that its engine runs in, which is another than the one asked for where that is not
    accepted: its student is the one to be looked at."""
    try:
        return served_modes(project, group).project
    except ConfigError:  # of the table, which other checks say
        return project


def _check(name: str, judge: Callable[[], Verdict]) -> Check:
    return Check(name, lambda: in_thread(judge))


def _sources(project: Project) -> Verdict:
    sources = project.settings.sources
    if not sources:
        return warn("there is no source", "add [sources.S] to mira.toml, or mira-stream source add")
    lost = [name for name, one in sources.items() if one.path and not project.path(one.path).exists()]
    if lost:
        return warn(
            f"{lost[0]}: {project.path(sources[lost[0]].path)} is not there", "correct its path before produce files"
        )
    apart = [name for name, one in sources.items() if one.group is None]
    if len(apart) == len(sources):
        fix = f"mira-stream pipeline --project {project.root}; or, groups alone, mira-stream rubric group"
        return warn("no source is in a group yet", fix)
    if apart:
        fix = f"mira-stream rubric place {apart[0]} --project {project.root}"
        return warn(f"in no group yet: {', '.join(apart)}", fix)
    return ok(f"{len(sources)} in {len({one.group for one in sources.values()})} groups")


def _prompt(project: Project, group: str) -> Verdict:
    prompt = load_prompt(project.prompts_path(group), load_rubric(project.rubric_path(group)))
    return ok(f"templates and rubric fit, sha256 {prompt.files_sha256[:12]}")


def _served_here(project: Project, group: str) -> Path | None:
    """The student's folder, if there is to be one."""
    folder = project.served_path(group)
    return folder if project.settings.groups[group].engine == "vllm" or folder.is_dir() else None


def _student(project: Project, group: str) -> Verdict:
    folder = _served_here(project, group)
    if folder is None:
        return skipped("it is served elsewhere")
    check_there(project, group)
    unchecked = check_student(folder, trust_remote_code=project.settings.groups[group].trust_remote_code)
    if unchecked:
        return warn("; ".join(unchecked), "see that the folder is complete: its parameters could not be counted")
    return ok("safetensors only, no code of its own, all parameters there")


def _origin(project: Project, group: str) -> Verdict:
    folder = _served_here(project, group)
    if folder is None or not (folder / "config.json").is_file():
        return skipped("it is served elsewhere" if folder is None else "there is no student")
    check_origin(project, group, load_rubric(project.rubric_path(group)))
    if student_config(folder).get("mira"):
        return ok("trained for this group and rubric")
    return warn(
        "the student does not say for whom it was trained; foreign = true vouches for it",
        f"see that {folder} is the student of this group: nothing else can tell",
    )


def _rubric(project: Project, group: str) -> Verdict:
    from mira_stream.parquet import read_metadata

    rubric = load_rubric(project.rubric_path(group))
    if rubric.header.group != group:
        return fail(f"rubrics/{group}.jsonl is of group {rubric.header.group}", "put the group's own rubric there")
    path, labels = project.reliability_path(group), project.labels_path(group)
    table = load_table(path).rubric if path.is_file() else None
    return rules.same_rubric(
        group, rubric.version, table, read_metadata(labels).get("rubric") if labels.is_file() else None
    )


def _lineage(project: Project, group: str) -> Verdict:
    path = project.reliability_path(group)
    if not path.is_file():
        return skipped("there is no reliability table")
    again = f"mira-stream reliability --group {group} --project {project.root}"
    measured, seen = load_table(path).modes, list[str]()
    for judging in served_modes(project, group).projects:
        mode = judging.settings.groups[group].mode
        if mode not in measured:
            return skipped(f"mode {mode} is not in it")
        weights = sum(one.stat().st_size for one in judging.served_path(group).glob("*.safetensors"))
        if weights > HASHED_BYTES_MAX:
            return skipped(f"{weights / rules.GIB:.0f} GiB of weights are hashed by `score` at its start, not here")
        now, before = lineage(judging, group), measured[mode].lineage
        if now != before:
            return fail(f"measured as {before}, the group scores as {now} now", f"measure it again: {again}")
        seen.append(now)
    return ok(f"{' and '.join(seen)}, as it was measured")


def _modes(project: Project, group: str) -> Verdict:
    modes = served_modes(project, group)
    if modes.said:
        more = f" (and {len(modes.said) - 1} more)" if len(modes.said) > 1 else ""
        fix = _way_out(project, group)
        if project.settings.groups[group].mode in load_table(project.reliability_path(group)).modes:
            fix += "; or mode_pinned = true of the group if you vouch for its mode"
        return warn(f"{modes.said[0]}{more}", fix)
    section = project.settings.groups[group]
    if unmeasured := _unmeasured(project, group):
        return unmeasured
    pinned = " (pinned)" if section.slower is not None and section.mode_pinned else ""
    return ok(f"all in mode {section.mode}{pinned}")


def _unmeasured(project: Project, group: str) -> Verdict | None:
    """Where a mode that is to be served has no masks, `prepare` and `up` refuse it, pinned or not."""
    section, path = project.settings.groups[group], project.reliability_path(group)
    known = load_table(path).modes if path.is_file() else {}
    if not known or section.mode in known:
        return None
    pinned = " (pinned)" if section.mode_pinned else ""
    cause = f"mode {section.mode}{pinned} has no masks and cannot be served: the table has {', '.join(known)} alone"
    fix = _measure(project, group)
    if section.slower is not None and section.slower.mode in known:
        fix += f"; without mode_pinned sources are judged in mode {section.slower.mode} until then"
    return fail(cause, fix)


def _measure(project: Project, group: str) -> str:
    """What puts the group's mode into its table: of a student that is not there, its training first."""
    command = f"mira-stream reliability --group {group} --project {project.root}"
    try:
        check_there(project, group)
    except ConfigError as error:
        return f"{error.fix}, then measure it: {command}"
    return f"measure it: {command}"


def _way_out(project: Project, group: str) -> str:
    """Where a mode is not accepted for some source: by what is missing first."""
    section, place = project.settings.groups[group], f"--group {group} --project {project.root}"
    part = load_table(project.reliability_path(group)).modes.get(section.mode)
    if part is None:
        return _measure(project, group)
    measured = [source.acceptance for source in part.sources.values()]
    slowest = [one.mode for one in section.slower_in_turn][-1:]
    if any(one is None or one.against not in slowest for one in measured):
        return f"compare it: mira-stream reliability {place}"
    if any(one is not None and one.n < DOCUMENTS_MIN for one in measured):
        now = project.settings.labels.heldout
        return (
            f"[labels] heldout = {DOCUMENTS_MIN} or more (of each source; it is {now}), then mira-stream label"
            f" {place} and mira-stream reliability {place}"
        )
    slower = section.slower.mode if section.slower is not None else section.mode
    return f'mode = "{slower}" of the group, or a student that errs less in mode {section.mode}'


def _tokenizer(project: Project, group: str) -> Verdict:
    from mira_stream.scoring.tokenizer import StudentTokenizer

    folder = _served_here(project, group)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return skipped("its tokenizer is not here")
    tokenizer, config = StudentTokenizer(folder), student_config(folder)
    vocabulary = config.get("text_config", config).get("vocab_size")
    return rules.tokenizer(len(tokenizer.special_tokens), tokenizer.size, vocabulary)


def _context(project: Project, group: str) -> Verdict:
    from mira_stream.scoring.tokenizer import StudentTokenizer

    settings, folder = project.settings.groups[group], project.served_path(group)
    prompt = load_prompt(project.prompts_path(group), load_rubric(project.rubric_path(group)))
    if not (folder / "tokenizer.json").is_file():
        return skipped("its tokenizer is not here to count the prompt")
    tokens = len(StudentTokenizer(folder).tokenize(prompt.system + prompt.user("")))
    around = tokens + CHAT_TOKENS + MARKER_TOKENS
    return rules.context(around, settings.document_tokens_max, reply_room(settings), settings.context_tokens_max)


async def _endpoints(project: Project, group: str) -> Verdict:
    if not project.settings.groups[group].base_urls:
        raise ConfigError("base_urls_missing", f"[groups.{group}] has no base_urls", "name the endpoint there")

    def opened() -> "OpenAIEngine":
        from mira_stream.openai_engine import OpenAIEngine  # seconds on a busy machine, in which the loop must run

        return OpenAIEngine.for_group(project, group)

    engine = await in_thread(opened)
    try:
        await engine.start()
    finally:
        await engine.stop()
    return ok(f"{', '.join(project.settings.groups[group].base_urls)} serves it")
