"""`mira-stream distill --head`: what a head begins with, and by what it is known when it is served."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mira_stream.config import Project
from mira_stream.distill.checkpoints import training_folder
from mira_stream.distill.head import Start
from mira_stream.distill.run import TrainingRun
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from mira_stream.scoring.probe import known_view
from mira_stream.scoring.student import student_sha256
from mira_stream.scoring.tokenizer import StudentTokenizer

if TYPE_CHECKING:
    from mira_stream.distill.regression import CellWeights


def head_run(project: Project, group: str, run: TrainingRun, say: Callable[[str], None]) -> TrainingRun:
    """The training of the group's head, from that of its student. Raises ConfigError(student_missing) without one."""
    student = trained_student(project, group)
    cells = cell_weights(project, group, run.rubric, run.recipe.head.unreliable_weight, say)
    tokenizer = StudentTokenizer(student)
    known = known_view(project.settings.groups[group], tokenizer.tokenize, tokenizer.special_tokens)
    folder = project.head_path(group)
    training_folder(folder).parent.mkdir(parents=True, exist_ok=True)
    return run._replace(
        folder=folder,
        curve=project.root / "reports" / f"distill-{group}-head.png",
        lesson=run.lesson._replace(mode="head"),
        head=Start(student, student_sha256(student), cells),
        known=known,
    )


def trained_student(project: Project, group: str) -> Path:
    """What a head begins with. Raises ConfigError(student_missing)."""
    student = project.student_path(group)
    if not (student / "model.safetensors").is_file():
        raise ConfigError(
            "student_missing",
            f"{student} has no weights: a head begins with a trained student",
            f"mira-stream distill --group {group} --project {project.root}",
        )
    return student


def cell_weights(
    project: Project, group: str, rubric: str, unreliable: float, say: Callable[[str], None]
) -> "CellWeights":
    """1 where the group's student is reliable, `unreliable` where not, by the table of a mode that replies; without one
    all 1."""
    from mira_stream.reliability.table import WHOLE_GROUP, load_table

    path = project.reliability_path(group)
    table = load_table(path) if path.is_file() else None
    modes = [] if table is None or table.rubric != rubric else [mode for mode in table.modes if mode != "head"]
    if table is None or not modes:
        say(f"{group}: no reliability table of a student that replies: every cell weighs the same")
        return {}
    measured = table.modes["scores" if "scores" in modes else modes[0]]
    names = {*measured.sources, *project.settings.sources_of(group)} - {WHOLE_GROUP}
    cells = {
        name: {slot: unreliable for slot in SLOTS if slot not in measured.of(name).reliable} for name in sorted(names)
    }
    count = sum(map(len, cells.values()))
    say(f"{group}: {count} of {len(cells) * len(SLOTS)} cells are not reliable and weigh {unreliable:g}")
    return cells
