"""How fast is each scoring mode, and what does it keep? One student, one engine, the same views, modes in turn.

By source group and prompt length: documents/s of the scorer's own judge (prompt, engine, parser), tokens it generates,
selection gain and overlap with the teacher's, and how many scores are those of `rationale`. Prefix caches are emptied
before each turn; a ratio is taken within its turn, the median of the turns counts.

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

import orjson
import uvloop
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from mira_stream.chance import is_heldout
from mira_stream.config import GroupSection, Project, load_project
from mira_stream.demo.corpora import documents
from mira_stream.demo.featurejudge.judge import overall, recommendation, reply, scores
from mira_stream.messages import DIMENSIONS, Mode
from mira_stream.prompt import load_prompt
from mira_stream.reliability.measure import Measured, aggregate, terms_of
from mira_stream.reliability.table import WHOLE_GROUP, Aggregate, load_table
from mira_stream.render import cut, neutralise, render
from mira_stream.rubric.anchors import load_rubric
from mira_stream.scoring.engine import Engine, Request
from mira_stream.scoring.judge import Judge, Judgement
from mira_stream.streaming.metrics import Metrics
from mira_stream.streaming.service import log_to_stderr
from mira_stream.testing.engine import ScriptedEngine
from mira_stream.vllm_engine import VllmEngine

DEMO_PROJECT: Final = Path(__file__).parent.parent / "mira_stream" / "demo" / "project"
MODES: Final[tuple[Mode, ...]] = ("rationale", "scores", "expected")
CONTEXT: Final = 4096
SLACK_TOKENS: Final = 16
LOOKED_AT: Final = 8
"""So many documents are rendered for each one that is wanted, to find those that are long enough."""


class Served(Engine, Protocol):
    async def reset_prefix_cache(self) -> None: ...


class Scripted(ScriptedEngine):
    """The stand-in of the harness's test: no model, no cache, no speed to be measured."""

    async def reset_prefix_cache(self) -> None: ...


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
    """One mode of a group at a prompt length. `ratio`: its documents/s over those of `rationale`."""

    group: str
    length: int
    mode: Mode
    documents: int
    prompt_tokens: float
    generation_tokens: float
    documents_per_s: float
    ratio: float
    ratio_least: float
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


def judges(project: Project, group: str, engine: Engine, room: int) -> dict[Mode, Judge]:
    """The scorer's judge in each mode. `room`: tokens of a reply with justifications."""
    rubric = load_rubric(project.rubric_path(group))
    prompt = load_prompt(project.prompts_path(group), rubric)

    def judge(mode: Mode) -> Judge:
        settings = replace(
            project.settings.groups[group],
            mode=mode,
            context_tokens_max=CONTEXT,
            reply_tokens_max=room if mode == "rationale" else project.settings.groups[group].reply_tokens_max,
        )
        return Judge(group, settings, rubric, prompt, "bench", engine, Metrics())

    return {mode: judge(mode) for mode in MODES}


async def turn(judge: Judge, seen: Sequence[View], engine: Served, name: str) -> Turn:
    """All views at once, as many in work as the engine takes."""
    await engine.reset_prefix_cache()
    started = time.perf_counter()
    judged = await asyncio.gather(
        *(judge.judge(view.text, view.id, f"{name}-{number}") for number, view in enumerate(seen))
    )
    return Turn(time.perf_counter() - started, list(judged))


async def measure(
    project: Project, group: str, length: int, engine: Served, plan: argparse.Namespace, say: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of one group and length; the first turn of each mode is not counted."""
    seen = views(project, group, length, plan.documents, engine)
    asked = judges(project, group, engine, plan.reply_tokens or reply_tokens(project, group, seen, engine))
    turns: dict[Mode, list[Turn]] = {mode: [] for mode in MODES}
    for number in range(plan.repeats + 1):
        # Each mode is now first, now last: what the machine does meanwhile meets all of them.
        for mode in (*MODES[number % len(MODES) :], *MODES[: number % len(MODES)]):
            one = await turn(asked[mode], seen, engine, f"{group}-{length}-{mode}-{number}")
            say(f"{group} {length}: turn {number} {mode} {one.seconds:.2f} s{'' if number else ' (not counted)'}")
            if number:
                turns[mode].append(one)
    return (row(project, group, length, mode, seen, turns) for mode in MODES)


def row(
    project: Project, group: str, length: int, mode: Mode, seen: Sequence[View], turns: dict[Mode, list[Turn]]
) -> Row:
    own, slow = turns[mode], turns["rationale"]
    ratios = [base.seconds / one.seconds for base, one in zip(slow, own, strict=True)]
    judged = own[-1].judged
    kept = agreement(project, group, seen, judged)
    said = [
        a == b
        for mine, theirs in zip(judged, slow[-1].judged, strict=True)
        for a, b in zip(mine.reading.scores, theirs.reading.scores, strict=True)
    ]
    return Row(
        group,
        length,
        mode,
        len(seen),
        round(mean(one.completion.prompt_tokens for one in judged), 1),
        round(mean(one.completion.generation_tokens for one in judged), 1),
        round(len(seen) / median(one.seconds for one in own), 2),
        round(median(ratios), 2),
        round(min(ratios), 2),
        kept.gain,
        kept.overlap,
        round(sum(said) / len(said), 4),
    )


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


def stretched(project: Project, group: str, folder: Path) -> VllmEngine:
    """An engine of a copy of the student whose config.json allows CONTEXT positions."""
    copytree(project.student_path(group), folder)
    config = orjson.loads((folder / "config.json").read_bytes())
    config["max_position_embeddings"] = max(CONTEXT, config["max_position_embeddings"])
    (folder / "config.json").write_bytes(orjson.dumps(config))
    settings: GroupSection = replace(project.settings.groups[group], context_tokens_max=CONTEXT)
    return VllmEngine(folder, settings)


def table(rows: Sequence[Row]) -> Table:
    columns = "documents/s (median)", "ratio (least)", "tokens generated", "gain", "overlap", "scores as in rationale"
    shown = Table("group", "prompt tokens", "mode", *columns)
    for one in rows:
        kept = ["-" if value is None else f"{value:.3f}" for value in (one.gain, one.overlap)]
        shown.add_row(
            one.group,
            f"{one.prompt_tokens:.0f}",
            one.mode,
            f"{one.documents_per_s:.2f}",
            f"{one.ratio:.2f} ({one.ratio_least:.2f})",
            f"{one.generation_tokens:.0f}",
            *kept,
            f"{one.same_scores:.2%}",
        )
    return shown


async def run(project: Project, arguments: argparse.Namespace, say: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for group in arguments.groups:
        with tempfile.TemporaryDirectory() as folder:
            engine: Served = Scripted() if arguments.scripted else stretched(project, group, Path(folder) / "student")
            await engine.start()
            try:
                if not arguments.scripted:
                    await engine.generate(Request("warm", [{"role": "user", "content": "a document"}], 8))
                for length in arguments.lengths:
                    rows += await measure(project, group, length, engine, arguments, say)
            finally:
                await engine.stop()
    return rows


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--groups", nargs="+", default=["text"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[400, 2000])
    parser.add_argument("--reply-tokens", type=int, default=0)
    parser.add_argument("--project", type=Path, default=DEMO_PROJECT)
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
