"""How fast is each scoring mode, and what does it keep? One student, one engine, the same views, modes in turn.

By source group and prompt length: documents/s of the scorer's own judge (prompt, engine, parser), tokens it generates,
mean rho and MAE, selection gain and overlap with the teacher's, and how many scores are those of `rationale`. Prefix
caches are emptied before each turn; a ratio is taken within its turn, the median of the turns counts.

`one token` is the limit: the same prompts to the same student, which says a single token, unread. `head` has an engine
of its own beside the other and a student of its own: the project's, or that of `--heads FOLDER/<group>.head`; where
there is none it is left out (mira-stream distill --head makes it).

The demo's students were taught the score block alone, so `rationale` is a stand-in here: the grammar makes them go on
behind it, for `--reply-tokens` in all (0: as many as the demo's teacher writes, whose justifications are terse). What
they say there means nothing; what it costs is what a reply of that length costs. Prompts beyond the students' context
run on a copy whose config.json allows them: right for speed, not for scores.

    python bench/modes.py --documents 32 --repeats 3 --groups text --lengths 400 2000 --reply-tokens 315
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import copytree
from statistics import mean, median
from typing import Final, NamedTuple, Protocol

import numpy as np
import orjson
import uvloop
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mira_stream.chance import is_heldout
from mira_stream.config import Project, load_project
from mira_stream.demo.corpora import documents
from mira_stream.demo.featurejudge.judge import overall, recommendation, reply, scores
from mira_stream.distill.watched import mean_rho
from mira_stream.messages import DIMENSIONS, Mode
from mira_stream.prompt import load_prompt
from mira_stream.reliability.measure import Measured, aggregate, terms_of
from mira_stream.reliability.table import WHOLE_GROUP, Aggregate, load_table
from mira_stream.render import cut, neutralise, render
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scorecard import read_outputs
from mira_stream.scoring.engine import Engine, Request
from mira_stream.scoring.judge import Judge, Judgement
from mira_stream.sections import GroupSection
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.service import log_to_stderr
from mira_stream.testing.engine import ScriptedEngine
from mira_stream.vllm_engine import VllmEngine

DEMO_PROJECT: Final = Path(__file__).parent.parent / "mira_stream" / "demo" / "project"
ONE_TOKEN: Final = "one token"
SPOKEN: Final[tuple[Mode, ...]] = ("rationale", "scores", "expected")
KINDS: Final = (*SPOKEN, "head", ONE_TOKEN)
NOTHING: Final = Aggregate(rho=None, overlap=None, gain=None)
CONTEXT: Final = 4096
SLACK_TOKENS: Final = 16
LOOKED_AT: Final = 8
"""So many documents are rendered for each one that is wanted, to find those that are long enough."""


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


class View(NamedTuple):
    """A rendered document cut to the bucket's length, and the teacher's scores of it."""

    id: str
    source: str
    text: str
    scores: list[float]


class Turn(NamedTuple):
    """One pass over all views in one mode."""

    seconds: float
    judged: list[Judgement]


class Row(NamedTuple):
    """One mode of a group at a prompt length. `ratio`: its documents/s over those of the first mode that runs;
    `of_one_token`: over those of `one token`. `rho` and `mae`: against the teacher, mean over the dimensions."""

    group: str
    length: int
    mode: str
    documents: int
    prompt_tokens: float
    generation_tokens: float
    documents_per_s: float
    ratio: float
    ratio_least: float
    of_one_token: float
    rho: float | None
    mae: float | None
    gain: float | None
    overlap: float | None
    same_scores: float


def views(project: Project, group: str, length: int, count: int, engine: Engine) -> list[View]:
    """Held-out documents whose prompts are as near to `length` tokens as the documents allow, long ones first."""
    settings = project.settings.groups[group]
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)
    around = sum(len(engine.tokenize(message["content"])) for message in prompt.messages("")) + SLACK_TOKENS
    budget = max(1, length - around)
    sources = sorted(name for name, source in project.settings.sources.items() if source.group == group)
    found: list[tuple[int, int, View]] = []
    for name in sources:
        for place, one in enumerate(documents(name, LOOKED_AT * count // len(sources), is_heldout)):
            text = neutralise(render(one, settings.family), engine.special_tokens)
            shown = cut(text, engine.tokenize, budget, budget, "head")
            given = [float(score) for score in scores(settings.family, shown.text, rubric.names)]
            found.append((-len(engine.tokenize(shown.text)), place, View(one.id, name, shown.text, given)))
    found.sort(key=lambda one: one[:2])  # of documents as long, each source's first
    return [view for _, _, view in found[:count]]


def reply_tokens(project: Project, group: str, seen: Sequence[View], engine: Engine) -> int:
    """Median length of the teacher's replies with justifications, in tokens of the student."""
    names, family = load_rubric(project.rubric_path(group)).names, project.settings.groups[group].family
    replies = [reply(family, view.text, names, "scores_first", "rationale") for view in seen]
    return round(median(len(engine.tokenize(text)) for text in replies))


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


async def turn(side: Side, seen: Sequence[View], name: str) -> Turn:
    """All views at once, as many in work as the engine takes."""
    await side.engine.reset_prefix_cache()
    started = time.perf_counter()
    judged = await asyncio.gather(
        *(side.judge.judge(view.text, view.id, f"{name}-{number}") for number, view in enumerate(seen))
    )
    return Turn(time.perf_counter() - started, list(judged))


async def measure(
    project: Project,
    group: str,
    length: int,
    engine: Served,
    head: Served | None,
    plan: argparse.Namespace,
    say: Callable[[str], None],
) -> Iterator[Row]:
    """The rows of one group and length; the first turn of each mode is not counted."""
    seen = views(project, group, length, plan.documents, engine)
    room = plan.reply_tokens or reply_tokens(project, group, seen, engine)
    asked = sides(project, group, engine, head, room)
    kinds = [kind for kind in KINDS if kind in asked and (plan.kinds is None or kind in plan.kinds)]
    turns: dict[str, list[Turn]] = {kind: [] for kind in kinds}
    for number in range(plan.repeats + 1):
        # Each mode is now first, now last: what the machine does meanwhile meets all of them.
        first = number % len(kinds)
        for kind in (*kinds[first:], *kinds[:first]):
            one = await turn(asked[kind], seen, f"{group}-{length}-{kind}-{number}")
            say(f"{group} {length}: turn {number} {kind} {one.seconds:.2f} s{'' if number else ' (not counted)'}")
            if number:
                turns[kind].append(one)
    return (row(project, group, length, kind, seen, turns) for kind in kinds)


def row(
    project: Project, group: str, length: int, kind: str, seen: Sequence[View], turns: dict[str, list[Turn]]
) -> Row:
    own, slow = turns[kind], next(iter(turns.values()))
    judged = own[-1].judged
    kept = NOTHING if kind == ONE_TOKEN else agreement(project, group, seen, judged)
    rho, mae = (None, None) if kind == ONE_TOKEN else fidelity(seen, judged)
    said = [
        a == b
        for mine, theirs in zip(judged, slow[-1].judged, strict=True)
        for a, b in zip(mine.reading.scores, theirs.reading.scores, strict=True)
    ]
    return Row(
        group,
        length,
        kind,
        len(seen),
        round(mean(one.completion.prompt_tokens for one in judged), 1),
        round(mean(one.completion.generation_tokens for one in judged), 1),
        round(len(seen) / median(one.seconds for one in own), 2),
        round(median(ratios(slow, own)), 2),
        round(min(ratios(slow, own)), 2),
        round(median(ratios(turns[ONE_TOKEN], own)), 2),
        rho,
        mae,
        kept.gain,
        kept.overlap,
        round(sum(said) / len(said), 4),
    )


def ratios(base: Sequence[Turn], own: Sequence[Turn]) -> list[float]:
    """How many times as fast, turn by turn."""
    return [other.seconds / one.seconds for other, one in zip(base, own, strict=True)]


def fidelity(seen: Sequence[View], judged: Sequence[Judgement]) -> tuple[float | None, float | None]:
    """Mean rho and MAE of the documents with all fifteen scores."""
    pairs = [(view.scores, one.scores) for view, one in zip(seen, judged, strict=True) if one.read == DIMENSIONS]
    if len(pairs) < 2:
        return None, None
    teacher, student = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    rho = mean_rho(teacher, student)
    return None if rho is None else round(rho, 4), round(float(np.abs(student - teacher).mean()), 4)


def agreement(project: Project, group: str, seen: Sequence[View], judged: Sequence[Judgement]) -> Aggregate:
    """Gain and overlap over the dimensions that the shipped table holds reliable, at the project's target."""
    terms = terms_of(project.settings, group)
    rows = []
    for view, one in zip(seen, judged, strict=True):
        given = [score for score in one.scores if score is not None]
        if len(given) == DIMENSIONS:
            whole = overall([round(score) for score in view.scores])
            rows.append(Measured(view.id, view.source, view.scores, given, whole, recommendation(whole)))
    reliable = load_table(project.reliability_path(group)).modes["scores"].sources[WHOLE_GROUP].reliable
    means = [mean(row.student_scores[slot] for row in rows) for slot in range(DIMENSIONS)]
    return aggregate(rows, reliable, means, terms.target(WHOLE_GROUP), terms)


def stretched(project: Project, group: str, student: Path, mode: Mode, folder: Path) -> VllmEngine:
    """An engine of a copy of the student whose config.json allows CONTEXT positions."""
    copytree(student, folder)
    config = orjson.loads((folder / "config.json").read_bytes())
    config["max_position_embeddings"] = max(CONTEXT, config["max_position_embeddings"])
    (folder / "config.json").write_bytes(orjson.dumps(config))
    settings: GroupSection = replace(project.settings.groups[group], mode=mode, context_tokens_max=CONTEXT)
    return VllmEngine(folder, settings)


def table(rows: Sequence[Row]) -> Table:
    columns = (
        *("documents/s (median)", "ratio (least)", "of one token", "tokens generated"),
        *("rho", "MAE", "gain", "overlap", "scores as in rationale"),
    )
    shown = Table("group", "prompt tokens", "mode", *columns)
    for one in rows:
        kept = ["-" if value is None else f"{value:.3f}" for value in (one.rho, one.mae, one.gain, one.overlap)]
        shown.add_row(
            one.group,
            f"{one.prompt_tokens:.0f}",
            one.mode,
            f"{one.documents_per_s:.2f}",
            f"{one.ratio:.2f} ({one.ratio_least:.2f})",
            f"{one.of_one_token:.2f}",
            f"{one.generation_tokens:.0f}",
            *kept,
            f"{one.same_scores:.2%}",
        )
    return shown


async def run(project: Project, arguments: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for group in arguments.groups:
        with tempfile.TemporaryDirectory() as folder:
            engine, head = engines(project, group, arguments, Path(folder), say)
            started = [one for one in (engine, head) if one is not None]
            await asyncio.gather(*(one.start() for one in started))
            try:
                if not arguments.scripted:
                    await engine.generate(Request("warm", [{"role": "user", "content": "a document"}], 8))
                for length in arguments.lengths:
                    rows += await measure(project, group, length, engine, head, arguments, say)
            finally:
                await asyncio.gather(*(one.stop() for one in started))
    return rows


def engines(
    project: Project, group: str, arguments: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> tuple[Served, Served | None]:
    """That of the student, and that of the head if there is one."""
    if arguments.scripted:
        return Scripted(), Scripted()
    student = stretched(project, group, project.student_path(group), "scores", folder / "student")
    path = arguments.heads / f"{group}.head" if arguments.heads else project.head_path(group)
    if not path.is_dir():
        say(f"{group}: no head in {path}, mode head is left out (mira-stream distill --head --group {group})")
        return student, None
    return student, stretched(project, group, path, "head", folder / "head")


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--groups", nargs="+", default=["text"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[400, 2000])
    parser.add_argument("--reply-tokens", type=int, default=0)
    parser.add_argument("--project", type=Path, default=DEMO_PROJECT)
    parser.add_argument("--heads", type=Path, help="the folder of <group>.head (default: the project's)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help=f"only these; {ONE_TOKEN!r} must be among them")
    parser.add_argument("--scripted", action="store_true", help="no model: only whether this script works")
    return parser.parse_args(argv)


def main() -> None:
    arguments = parse_arguments()
    console = Console(stderr=True)
    log_to_stderr()
    before = os.getloadavg()[0]
    rows = uvloop.run(run(load_project(arguments.project), arguments, console.print))
    Console(width=160).print(table(rows))
    result = {
        "engine": "scripted stand-in, no model: speed means nothing" if arguments.scripted else "vllm",
        "rationale": "stand-in: its length is forced by the grammar, the student was taught the score block alone",
        "repeats": arguments.repeats,
        "load_before": round(before, 2),
        "load_behind": round(os.getloadavg()[0], 2),
        "rows": [one._asdict() for one in rows],
    }
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    main()
