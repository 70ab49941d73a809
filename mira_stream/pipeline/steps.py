"""Which commands make a project out of its sources, in which order, and what each depends on.

corpus     the demo's own sources, made on the spot (nothing to do for files of your own)
group      rubric group: sources into groups; rubric place for a source that came later
discover   rubric discover: a group's fifteen anchor dimensions
label      the teacher's anchored judgements
distill    a group's student
reliability  student against teacher: the table behind the mask
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from mira_stream.config import Project
from mira_stream.distill.recipe import load_recipe

Stage = Literal["corpus", "group", "discover", "label", "distill", "reliability"]
STAGES: Final[tuple[Stage, ...]] = ("corpus", "group", "discover", "label", "distill", "reliability")
WORK: Final = "work"
"""Folder of a project for what is in progress: journals, labels with their views, what the pipeline has done."""
ASKS_TEACHER: Final[dict[Stage, str]] = {"discover": "discover", "label": "label", "reliability": "retest"}
"""Stages that ask the teacher, and how the journals of their answers begin: work/<name>-<group>.journal."""


class Step(NamedTuple):
    """One command. `arguments` go to the Python interpreter; `inputs` and `settings` say when it must be run again;
    `outputs` are there when it is done. A change of the files in `basis` makes void what is in `kept`: answers and
    labels of earlier runs. `watched`: files that other commands or people write, too. One that `stays` is not run again
    because its inputs have changed. Paths are absolute."""

    name: str
    stage: Stage
    group: str | None
    arguments: tuple[str, ...]
    inputs: tuple[Path, ...]
    settings: dict[str, Any]
    outputs: tuple[Path, ...]
    basis: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()
    watched: tuple[Path, ...] = ()
    stays: bool = False


class Pace(NamedTuple):
    """How steps use the machine: CPU threads of a training."""

    threads: int = 1


SERVING: Final = frozenset({
    "engine", "head", "foreign", "mode_pinned", "base_urls", "model", "api_key_env", "trust_remote_code",
    "tensor_parallel_size",
    "gpu_memory_utilization", "kv_cache_gib", "max_num_seqs", "max_num_batched_tokens", "prefix_caching",
    "chunked_prefill", "request_timeout_s",
})  # fmt: skip
"""Keys of a group that say how a student is served: no label, student or table is another for them."""


def labels_file(project: Project, group: str) -> Path:
    """All labels with their views; `labels/<group>.parquet` keeps the measured ones alone."""
    return project.path(f"{WORK}/labels-{group}.parquet")


def label_journal(project: Project, group: str) -> Path:
    """The teacher's answers that labels are made of."""
    return project.path(f"{WORK}/label-{group}.journal")


def sources_of(project: Project, group: str) -> list[str]:
    return sorted(name for name, section in project.settings.sources.items() if section.group == group)


def corpus_steps(project: Project, made_here: Sequence[str]) -> list[Step]:
    """One step for each of the demo's sources whose file is to be made."""
    settings = project.settings
    found = []
    for name in made_here:
        path = settings.sources[name].path
        if not path:
            continue
        count = {"documents": settings.labels.documents, "heldout": settings.labels.heldout}
        module = ("-m", "mira_stream.pipeline.corpus", str(project.root), name)
        found.append(Step(f"corpus {name}", "corpus", None, module, (), count, (project.path(path),)))
    return found


def group_steps(project: Project) -> list[Step]:
    """Grouping, where no source has a group yet; placing, where some have."""
    settings = project.settings
    lost = sorted(name for name, section in settings.sources.items() if not section.group)
    if not lost:
        return []
    if len(lost) == len(settings.sources):
        inputs = tuple(project.path(section.path) for section in settings.sources.values() if section.path)
        arguments = _command(project, "rubric", "group")
        return [Step("group", "group", None, arguments, inputs, _plain(settings.grouping), ())]
    return [
        Step(f"place {name}", "group", None, _command(project, "rubric", "place", name), (), {}, ()) for name in lost
    ]


def method_steps(project: Project, group: str, pace: Pace) -> list[Step]:
    """What is done for one group, in order."""
    settings = project.settings
    corpora = tuple(project.path(settings.sources[name].path) for name in sources_of(project, group))
    rubric, prompts = project.rubric_path(group), project.prompts_path(group)
    templates = (prompts / "system.txt", prompts / "user.txt")
    labels, student, of = labels_file(project, group), project.student_path(group), ("--group", group)
    teacher = {name: getattr(settings.teacher, name) for name in ("base_url", "model", "temperature")}
    measured = settings.groups[group]
    section = {key: value for key, value in _plain(measured).items() if key not in SERVING and key != "cascade"}
    taught = section | {"mode": measured.lesson_mode}  # a cascade is asked of the student that its full stage has
    if measured.mode == "cascade":
        section["cascade"] = _plain(measured.cascade)
    served = ("--served",) if load_recipe(project.root).base.model else ()  # too large to be decoded here
    retest = settings.reliability.retest
    again = ("--retest", str(retest)) if retest else ()
    weights, served_weights = _weights(student), _weights(project.served_path(group))
    return [
        Step(
            f"discover {group}", "discover", group, _command(project, "rubric", "discover", *of), corpora,
            {"teacher": teacher, "discovery": _plain(settings.discovery), "sources": sources_of(project, group)},
            (rubric,), watched=(rubric, *templates), stays=True,
        ),
        Step(
            f"label {group}", "label", group,
            _command(project, "label", *of, "--labels", str(labels)),
            (*corpora, rubric, *templates),
            {"teacher": teacher, "labels": _plain(settings.labels), "group": taught}, (labels,), (rubric, *templates),
            (label_journal(project, group), labels), (labels,),
        ),
        Step(
            f"distill {group}", "distill", group,
            _command(project, "distill", *of, "--labels", str(labels), "--threads", str(pace.threads)),
            (labels, project.path("distill.toml")), {"group": taught},
            (student / "config.json", weights),
        ),
        *_head_steps(project, group, pace),
        Step(
            f"reliability {group}", "reliability", group,
            _command(
                project, "reliability", *of, "--labels", str(labels), "--threads", str(pace.threads), *served, *again
            ),
            (labels, served_weights, rubric, *templates),
            {
                "mask": _plain(settings.mask), "group": section, "asked": [measured.engine, measured.model],
                "retest": [retest, teacher],
            },
            (project.reliability_path(group), project.labels_path(group)), (rubric, *templates),
            (project.path(f"{WORK}/{ASKS_TEACHER['reliability']}-{group}.journal"),),
        ),
    ]  # fmt: skip


def _head_steps(project: Project, group: str, pace: Pace) -> list[Step]:
    """The student of mode `head`, where that is the group's mode: it begins with the trained student."""
    if project.settings.groups[group].mode != "head":
        return []
    labels, head = labels_file(project, group), project.head_path(group)
    words = ("distill", "--head", "--group", group, "--labels", str(labels), "--threads", str(pace.threads))
    inputs = (labels, _weights(project.student_path(group)), project.path("distill.toml"))
    outputs = (head / "config.json", _weights(head))
    return [Step(f"distill {group} head", "distill", group, _command(project, *words), inputs, {}, outputs)]


def _weights(student: Path) -> Path:
    """What says that the weights are there: their index where transformers wrote them in parts."""
    index = student / "model.safetensors.index.json"
    return index if index.is_file() else student / "model.safetensors"


def _plain(section: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(section)
    return found


def _command(project: Project, *words: str) -> tuple[str, ...]:
    return ("-m", "mira_stream", *words, "--project", str(project.root), "--json")
