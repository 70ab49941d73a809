"""The ways to ask: the scorer's own judge in each mode, and a single token; and the engines that are asked."""

import argparse
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Final, NamedTuple, Protocol

import orjson
from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.messages import Mode
from mira_stream.prompt import load_prompt
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scorecard import read_outputs
from mira_stream.scoring.engine import Engine
from mira_stream.scoring.judge import Judge, Judgement
from mira_stream.sections import GroupSection
from mira_stream.streaming.metrics import Metrics
from mira_stream.testing.engine import ScriptedEngine
from mira_stream.vllm_engine import VllmEngine

ONE_TOKEN: Final = "one token"
SPOKEN: Final[tuple[Mode, ...]] = ("rationale", "scores", "expected")
KINDS: Final = (*SPOKEN, "head", ONE_TOKEN)
CONTEXT: Final = 4096
HEAD_WAY: Final = "mira-stream distill --head --group {}"


class Served(Engine, Protocol):
    async def reset_prefix_cache(self) -> None: ...


class Scripted(ScriptedEngine):
    """The stand-in of the harness's test: no model, no cache, no speed to be measured."""

    async def reset_prefix_cache(self) -> None: ...


class Judging(Protocol):
    async def judge(self, view: str, document_id: str, request_id: str) -> Judgement: ...


class OneToken:
    """Not a mode, but its limit: what reading the prompts alone takes."""

    def __init__(self, judge: Judge, engine: Engine) -> None:
        self._judge = judge
        self._engine = engine

    async def judge(self, view: str, document_id: str, request_id: str) -> Judgement:
        asked = self._judge.request(view, document_id, request_id)._replace(max_tokens=1, regex=None, logprobs=0)
        return Judgement(read_outputs(()), await self._engine.generate(asked), 1, 0.0)


class Side(NamedTuple):
    """A way to ask, and the engine that is asked."""

    judge: Judging
    engine: Served


def sides(project: Project, group: str, engine: Served, head: Served | None, room: int) -> dict[str, Side]:
    """The scorer's judge in each mode, and what is compared with it. `room`: tokens of a reply with justifications."""
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)

    def judge(mode: Mode, served: Served) -> Judge:
        settings = replace(
            project.settings.groups[group],
            mode=mode,
            context_tokens_max=CONTEXT,
            reply_tokens_max=room if mode == "rationale" else project.settings.groups[group].reply_tokens_max,
        )
        return Judge(group, settings, rubric, prompt, "bench", served, Metrics())

    found: dict[str, Side] = {mode: Side(judge(mode, engine), engine) for mode in SPOKEN}
    if head is not None:
        found["head"] = Side(judge("head", head), head)
    return {**found, ONE_TOKEN: Side(OneToken(judge("scores", engine), engine), engine)}


def stretched(project: Project, group: str, student: Path, mode: Mode, folder: Path) -> VllmEngine:
    """An engine of a copy of the student whose config.json allows CONTEXT positions."""
    copytree(student, folder)
    config = orjson.loads((folder / "config.json").read_bytes())
    config["max_position_embeddings"] = max(CONTEXT, config["max_position_embeddings"])
    (folder / "config.json").write_bytes(orjson.dumps(config))
    settings: GroupSection = replace(project.settings.groups[group], mode=mode, context_tokens_max=CONTEXT)
    return VllmEngine(folder, settings)


def head_of(project: Project, group: str, heads: Path | None) -> Path:
    """`heads`: the folder of <group>.head, where it is not the project's."""
    return heads / f"{group}.head" if heads else project.head_path(group)


def engines(
    project: Project, group: str, arguments: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> tuple[Served, Served | None]:
    """That of the student, and that of the head if there is one."""
    if arguments.scripted:
        return Scripted(), Scripted()
    student = stretched(project, group, project.student_path(group), "scores", folder / "student")
    path = head_of(project, group, arguments.heads)
    if not path.is_dir():
        say(f"{group}: no head in {path}, mode head is left out ({HEAD_WAY.format(group)} makes one)")
        return student, None
    return student, stretched(project, group, path, "head", folder / "head")
