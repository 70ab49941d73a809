"""The lineage of score cards: a hash over all that decides what a score means (with the mask it names a quality)."""

from functools import lru_cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Final

import orjson

from mira_stream import render
from mira_stream.config import Project
from mira_stream.prompt import Prompt, load_prompt
from mira_stream.rubric.anchors import Rubric, load_rubric
from mira_stream.scoring.origin import check_there
from mira_stream.scoring.student import check_student, student_sha256

LINEAGE_HEX: Final = 12
SEED_BYTES: Final = 4


def lineage(project: Project, group: str) -> str:
    """12 hex digits. Raises ConfigError if rubric, prompts or student are not there or cannot be read.

    Hashes the student's weights on the first call in a process, which takes seconds a GB.
    """
    rubric = load_rubric(project.rubric_path(group))
    return lineage_of(project, group, rubric, load_prompt(project.prompts_path(group), rubric))


def lineage_of(project: Project, group: str, rubric: Rubric, prompt: Prompt) -> str:
    """`lineage` with rubric and prompt already read."""
    settings = project.settings.groups[group]
    if settings.mode == "cascade":  # which stage's scores a card has depends on the loss, too
        parts = [lineage_of(project.judged_as(group, stage), group, rubric, prompt) for stage in settings.stages]
        return _hash({"mode": "cascade", "stages": parts, "loss": settings.cascade.loss})
    return _hash(_meaning(project, group, rubric, prompt))


def _hash(meaning: dict[str, Any]) -> str:
    return sha256(orjson.dumps(meaning, option=orjson.OPT_SORT_KEYS)).hexdigest()[:LINEAGE_HEX]


def _meaning(project: Project, group: str, rubric: Rubric, prompt: Prompt) -> dict[str, Any]:
    settings = project.settings.groups[group]
    return {
        "renderer": render.VERSION,
        "view": {
            "family": settings.family,
            "document_tokens_max": settings.document_tokens_max,
            "train_cutoff_tokens": project.settings.tokens.train_cutoff_tokens,
            "too_long": settings.too_long,
        },
        "prompt": prompt.files_sha256,
        "rubric": rubric.version,
        "student": _student(project, group),
        "mode": settings.mode,
        "layout": settings.layout,
        "sampling": {
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "constrained": settings.constrained,
            "reply_tokens_max": settings.reply_tokens_max,
        },
    }


def seed(lineage: str, document_id: str, attempt: int = 1) -> int:
    """The sampling seed of one attempt at a document, in [0, 2^32)."""
    text = f"{lineage}\0{document_id}" if attempt == 1 else f"{lineage}\0{document_id}\0{attempt}"
    return int.from_bytes(blake2b(text.encode(), digest_size=SEED_BYTES, person=b"seed").digest(), "big")


def _student(project: Project, group: str) -> dict[str, str]:
    settings = project.settings.groups[group]
    folder = project.served_path(group)
    if settings.engine == "vllm":
        check_there(project, group)
        check_student(folder, trust_remote_code=settings.trust_remote_code)
        return {"sha256": _hashed(folder, _stamp(folder))}
    named = {"model": settings.model or group}
    tokenizer = folder / "tokenizer.json"  # it cuts the view
    if tokenizer.is_file():
        named["tokenizer"] = sha256(tokenizer.read_bytes()).hexdigest()
    return named


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a file of the folder changes."""
    entries = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in entries)


@lru_cache(maxsize=16)
def _hashed(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> str:
    return student_sha256(folder)
