"""The baseline `fixed-rubric-14`: one rubric for every group, judged by the same teacher and students as MIRA's own.

Its names are the fourteen quality criteria of DataMan (Peng et al., DataMan: Data Manager for Pre-training Large
Language Models, ICLR 2025, arXiv 2502.19363), thirteen and the overall score; descriptions and examples are ours. It
may be called DataMan only when DataMan's own model is served. A reply has fifteen lines, so slot A15 asks for the
overall score again and has to be masked.
"""

from importlib.resources import files
from typing import Final

import msgspec

from mira_stream.config import Project
from mira_stream.errors import ConfigError
from mira_stream.rubric.anchors import Anchor, RubricHeader, load_rubric, write_rubric

METHOD: Final = "fixed-rubric-14"
FILLER: Final = "A15"
_FILE: Final = "fixed_rubric_14.jsonl"


def fixed_rubric(group: str) -> bytes:
    """The rubric file of a group."""
    header, anchors = _packaged()
    return write_rubric(msgspec.structs.replace(header, group=group), anchors)


def check_fixed(project: Project) -> None:
    """Whether the project's cards are of this rubric. Raises ConfigError: rubric_mismatch, filler_counts."""
    names = tuple(anchor.name for anchor in _packaged()[1])
    for group in sorted(project.settings.groups):
        path = project.rubric_path(group)
        if not path.exists() or load_rubric(path).names != names:
            raise ConfigError(
                "rubric_mismatch",
                f"rubrics/{group}.jsonl is not the fixed rubric",
                f"mira-stream select --method {METHOD} --write-rubric {group}, then label, distill and score with it",
            )
    for name, source in sorted(project.settings.sources.items()):
        if FILLER not in source.mask_remove:
            raise ConfigError(
                "filler_counts",
                f"[sources.{name}] lets {FILLER} count, which asks for the overall score a second time",
                f'add mask_remove = ["{FILLER}"] there before scoring',
            )


def _packaged() -> tuple[RubricHeader, list[Anchor]]:
    first, *rest = files(__package__).joinpath(_FILE).read_bytes().splitlines()
    decode = msgspec.json.decode
    return decode(first, type=RubricHeader), [decode(line, type=Anchor) for line in rest]
