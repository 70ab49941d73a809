"""A regression head from labels to score cards: trained by the command on a shipped student, served by vLLM."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import pytest_asyncio
import torch
from transformers import Qwen3ForSequenceClassification

import mira_stream.demo
from mira_stream.cli.main import main
from mira_stream.config import Project, load_project
from mira_stream.demo.featurejudge.judge import overall, recommendation, scores
from mira_stream.distill.labels import SCHEMA, Label, about, columns
from mira_stream.errors import CheckFailed
from mira_stream.parquet import write_table
from mira_stream.prompt import Prompt, load_prompt
from mira_stream.rubric.anchors import Rubric, load_rubric
from mira_stream.scorecard import read_outputs
from mira_stream.scoring.engine import Request
from mira_stream.scoring.judge import Judge
from mira_stream.scoring.lineage import lineage
from mira_stream.scoring.probe import probe
from mira_stream.streaming.metrics import Metrics
from mira_stream.vllm_engine import VllmEngine

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1800)]

DEMO = Path(mira_stream.demo.__file__).parent / "project"
RECIPE = "[training]\nevaluate_every = 2\n[scratch]\nrow_step = 64\nbatch_tokens = 512\n[head]\npasses = 2\n"
VIEWS = [
    "def add(first, second):\n    return first + second\n",
    '"""Reads a table."""\n\nimport csv\n\n\ndef rows(path):\n    return list(csv.reader(open(path)))\n',
    "Usage: give the name of a file. It is read line by line, and what cannot be read is said.",
    "x = 1\n" * 30,
    "class Stack:\n    def __init__(self):\n        self.items = []\n",
    "See also the tutorial, which explains how tables are joined.",
]


def rubric_of(project: Project) -> Rubric:
    return load_rubric(project.rubric_path("text"))


def prompt_of(project: Project) -> Prompt:
    return load_prompt(project.prompts_path("text"), rubric_of(project))


def label_of(number: int, view: str, rubric: Rubric) -> Label:
    """What the demo's teacher says of a view."""
    given = scores("text", view, rubric.names)
    whole = overall(given)
    return Label(
        id=f"d{number}", source="stdlib", split="heldout" if number % 3 == 0 else "distill", window=0, cut=0, view=view,
        scores=[float(score) for score in given], overall=whole, recommendation=recommendation(whole),
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The demo's project with a very small head of its text student. In float32, so that numbers can be compared."""
    root = tmp_path_factory.mktemp("head") / "project"
    shutil.copytree(DEMO, root, ignore=shutil.ignore_patterns("agent", "qa"))
    toml = root / "mira.toml"
    toml.write_text(toml.read_text().replace("[groups.text]\n", '[groups.text]\nmode = "head"\ndtype = "float32"\n'))
    (root / "distill.toml").write_text(RECIPE)
    loaded = load_project(root, environment={})
    rubric = rubric_of(loaded)
    labels = [label_of(number, view, rubric) for number, view in enumerate(VIEWS)]
    metadata = about(rubric.version, "featurejudge", prompt_of(loaded).files_sha256, "scores", 0.0)
    write_table(root / "views.parquet", SCHEMA, columns(labels), metadata)
    words = ["distill", "--head", "--group", "text", "--plain", "--labels", str(root / "views.parquet")]
    assert main([*words, "--project", str(root)]) == 0
    return loaded


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(project: Project) -> AsyncIterator[VllmEngine]:
    one = VllmEngine.for_group(project, "text")
    await one.start()
    yield one
    await one.stop()


async def test_the_served_head_gives_the_numbers_of_transformers(project: Project, engine: VllmEngine) -> None:
    model = Qwen3ForSequenceClassification.from_pretrained(str(project.head_path("text")), dtype=torch.float32).eval()
    prompt = prompt_of(project)
    for number, view in enumerate([*VIEWS, VIEWS[0]]):
        request = Request(f"outputs-{number}", prompt.messages(view), 0, outputs=16)
        answer = await engine.generate(request)
        with torch.no_grad():
            wanted = model(input_ids=torch.tensor([list(answer.prompt_token_ids)])).logits[0].tolist()
        assert answer.outputs == pytest.approx(wanted, abs=1e-3)
        assert (answer.text, answer.generation_tokens, answer.finish_reason) == ("", 0, "stop")
        assert answer.prompt_tokens == len(answer.prompt_token_ids)
    assert answer.cached_tokens > 0, "the prefix that all prompts share is kept"


async def test_the_judge_makes_fifteen_scores_of_them(project: Project, engine: VllmEngine) -> None:
    settings = project.settings.groups["text"]
    prompt, rubric = prompt_of(project), rubric_of(project)
    judge = Judge("text", settings, rubric, prompt, lineage(project, "text"), engine, Metrics())
    judged = await judge.judge(VIEWS[0], "a", "judged")
    assert judged.scores == read_outputs(judged.completion.outputs).scores
    assert judged.read == 15
    assert judged.reading.overall is not None


async def test_the_probe_knows_the_head_and_finds_another_one(project: Project, engine: VllmEngine) -> None:
    await probe(project, "text", engine)
    config = project.head_path("text") / "config.json"
    written = config.read_bytes()
    said = orjson.loads(written)
    said["mira"]["known"]["outputs"][3] += 1
    try:
        config.write_bytes(orjson.dumps(said))
        with pytest.raises(CheckFailed, match="probe_failed"):
            await probe(project, "text", engine)
    finally:
        config.write_bytes(written)
