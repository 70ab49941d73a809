"""For whom a student was trained: what its folder says of itself must be what it is used for."""

import shlex
from pathlib import Path
from typing import Any, Final

from mira_stream.catalog import load_catalog
from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.messages import Mode
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import Rubric
from mira_stream.scorecard import OUTPUTS
from mira_stream.scoring.student import is_head, student_config

NOT_TAUGHT: Final = 'set mode = "scores"; or mira-stream label --mode rationale, and distil a student of it'


def check_there(project: Project, group: str) -> None:
    """Raises ConfigError(student_missing) where a student is to be asked here and its folder holds none: the tokenizer
    that `label` puts there is no student."""
    settings, folder = project.settings.groups[group], project.served_path(group)
    if settings.engine != "vllm" or (folder / "config.json").is_file() or any(folder.glob("*.safetensors")):
        return
    head = " --head" if settings.mode == "head" else ""
    fix = f"train it: mira-stream distill{head} --group {group} --project {project.root}"
    released = next((one for one in load_catalog().students if one.name == group and one.repository), None)
    if settings.foreign and released is not None:
        fix = f"hf download {released.repository} --local-dir {shlex.quote(str(folder))}"
    elif settings.foreign:
        fix = "copy the whole model folder there, or name another one in [groups.G] student"
    raise ConfigError("student_missing", f"{folder} holds no student yet", fix)


def check_origin(project: Project, group: str, rubric: Rubric) -> None:
    """A student says of itself for which group, rubric and prompt, and in which mode, it was trained, and must be used
    so; one that gives justifications has the score block of the other modes in its reply.

    A folder that says nothing (a released student's) is taken where a person vouches for it: `foreign` of the group.
    Raises ConfigError: student_group, student_rubric, student_prompt, student_mode, student_untagged.
    """
    student, settings = project.served_path(group), project.settings.groups[group]
    if not (student / "config.json").is_file():  # served elsewhere: its endpoint says nothing of it either
        return
    said = student_config(student).get("mira")
    trained: dict[str, Any] = said if isinstance(said, dict) else {}
    if trained.get("group", group) != group:
        raise ConfigError(
            "student_group",
            f"{student} was trained for group {trained['group']!r}, not {group!r}",
            "a student is calibrated for its own group: use the matching one",
        )
    if trained.get("rubric", rubric.version) != rubric.version:
        raise ConfigError(
            "student_rubric",
            f"{student} was trained on rubric {trained['rubric']!r}, this is {rubric.version!r}",
            "put back the rubric file it was trained on, or distil a student for this one",
        )
    unsaid = [part for part in ("group", "rubric") if part not in trained]
    if unsaid and not settings.foreign:
        raise ConfigError(
            "student_untagged",
            f"{student / 'config.json'} does not say for which {' and '.join(unsaid)} the student was trained",
            f"distil the group's own: mira-stream distill --group {group}. If you know that it is this group's (a"
            f" released student says nothing of itself): foreign = true in [groups.{group}] of mira.toml",
        )
    _check_taught(student, project, group, rubric, trained)


def _check_taught(student: Path, project: Project, group: str, rubric: Rubric, trained: dict[str, Any]) -> None:
    """Mode and prompt; students of earlier versions do not say their prompt."""
    mode = project.settings.groups[group].mode
    _check_is_head(student, group, mode, trained.get("mode", ""))
    if mode == "rationale" and trained.get("mode", mode) != mode:
        raise ConfigError(
            "student_mode",
            f"{student} was taught mode {trained['mode']}: it has scores and no justifications",
            NOT_TAUGHT,
        )
    if trained.get("prompt"):
        prompt = load_prompt(project.prompts_path(group), rubric).files_sha256
        if trained["prompt"] != prompt:
            raise ConfigError(
                "student_prompt",
                f"{student} was trained with prompt {str(trained['prompt'])[:12]}, the group's is {prompt[:12]} now",
                "put system.txt and user.txt back as they were, or label anew and distil a student of these",
            )


def _check_is_head(student: Path, group: str, mode: Mode, taught: str) -> None:
    """A head serves mode `head` and no other, and nothing else serves it."""
    config = student_config(student)
    outputs = len(config.get("id2label") or ())
    a_head = taught == "head" or is_head(config)
    if mode != "head" and a_head:
        raise ConfigError(
            "student_mode", f"{student} is a regression head and says nothing", f'set mode = "head" for group {group}'
        )
    if mode == "head" and (not a_head or outputs != len(OUTPUTS)):
        raise ConfigError(
            "student_mode",
            f"{student} is no head of {len(OUTPUTS)} outputs"
            + (f", it has {outputs}" if a_head else f": it was taught mode {taught or 'unknown'}"),
            f"mira-stream distill --head --group {group}",
        )
