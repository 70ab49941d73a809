"""Where a group's labels with their views stand: one place for `label`, `distill`, `reliability` and the pipeline."""

from pathlib import Path

from mira_stream.config import Project
from mira_stream.distill.labels import label_command
from mira_stream.errors import ConfigError
from mira_stream.parquet import column_names
from mira_stream.pipeline.steps import labels_file


def labels_place(project: Project, group: str) -> Path:
    """work/labels-<group>.parquet; labels/<group>.parquet keeps what was measured of them, unless views stand there."""
    path = project.labels_path(group)
    return path if path.is_file() and "view" in column_names(path) else labels_file(project, group)


def labels_with_views(project: Project, group: str) -> Path:
    """That place; where nothing is there, what was measured, so that an error says what it lacks."""
    place, path = labels_place(project, group), project.labels_path(group)
    return place if place.is_file() or not path.is_file() else path


def labelling_again(project: Project, group: str, labels: Path) -> str:
    """The command that labels a group into `labels`, which it names only where `label` would not write there anyway."""
    own = (labels_place(project, group), labels_with_views(project, group))
    there = any(labels.resolve() == path.resolve() for path in own)
    return label_command(project.root, group, None if there else labels)


def check_views(project: Project, group: str, labels: Path) -> None:
    """What was measured of labels teaches no student. Raises ConfigError(labels_without_views)."""
    names = column_names(labels)
    if "view" not in names and "student_scores" in names:
        raise ConfigError(
            "labels_without_views",
            f"{labels} keeps what was measured, without the views that a student learns from",
            f"label the group: {label_command(project.root, group)}; or name a file that it wrote with --labels",
        )
