"""A regression head on a student: what it is taught, that it learns it, and that it goes on where it was stopped."""

from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from safetensors.torch import load_file
from transformers import AutoConfig, Qwen3ForSequenceClassification

from mira_stream.distill.dataset import prompt_ids
from mira_stream.distill.folder import Making, write_model
from mira_stream.distill.head import Start, head_outputs, load_head, new_head
from mira_stream.distill.recipe import Head, Training
from mira_stream.distill.regression import regression_set, weighted_huber
from mira_stream.distill.run import TrainingRun, head_scores, run_training
from mira_stream.distill.student import new_student
from mira_stream.distill.tokenizer import save_tokenizer, vocabulary
from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS
from tests.models.student_tiny import RECIPE, TEXTS, tiny_tokenizer
from tests.models.test_distill_training import LESSON, label_of, stop_at

pytestmark = pytest.mark.models

HEAD_LESSON = LESSON._replace(mode="head")
RECIPE_HEAD = structs.replace(
    RECIPE,
    scratch=structs.replace(RECIPE.scratch, batch_tokens=256),
    training=Training(evaluate_every=4, patience=50),
    head=Head(passes=8, learning_rate=1e-2),
)
LABELS = [label_of(number, "distill") for number in range(8)] + [label_of(number, "heldout") for number in range(4)]
WEIGHTS = st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=6, max_size=6)
VALUES = st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student from scratch that has not learned anything."""
    folder = tmp_path_factory.mktemp("students") / "text"
    tokenizer = tiny_tokenizer()
    model = new_student(RECIPE.scratch, vocabulary(tokenizer), 1)
    write_model(folder, model, dict(model.state_dict()), Making("t", "text", "r1", 1, 1))
    save_tokenizer(tokenizer, folder)
    return folder


def training(root: Path, student: Path) -> TrainingRun:
    root.mkdir(exist_ok=True)
    start = Start(student, "0" * 64, {"s": {"A3": 0.25}})
    return TrainingRun(
        root, root / "text.head", root / "curve.png", "text", "t", "r1", HEAD_LESSON, LABELS, RECIPE_HEAD, 1,
        compiled=False, head=start, known=TEXTS[0],
    )  # fmt: skip


def test_packed_prompts_give_what_transformers_gives_for_each_alone(student: Path) -> None:
    model = new_head(student).eval()
    torch.nn.init.normal_(model.score.weight, generator=torch.Generator().manual_seed(3))
    tokenizer = tiny_tokenizer()
    prompts = [prompt_ids(tokenizer, LESSON.prompt, text) for text in TEXTS]
    with torch.no_grad():
        alone = [model(input_ids=torch.tensor([ids])).logits[0].numpy() for ids in prompts]
    assert np.abs(head_outputs(model, prompts, RECIPE) - np.array(alone)).max() < 1e-4
    assert head_outputs(model, [], RECIPE).shape == (0, 16)


def test_a_head_is_taught_points_and_unreliable_cells_weigh_less() -> None:
    labels = [structs.replace(LABELS[0], scores=[float("nan"), *LABELS[0].scores[1:]], overall=64.0), *LABELS[1:]]
    made = regression_set(labels, HEAD_LESSON, tiny_tokenizer(), "distill", {"s": {"A3": 0.25}})
    assert (made.labels, made.points.shape, made.too_long) == (8, (8, 16), 0)
    assert made.points[0, 15] == pytest.approx(6.4)
    assert list(made.points[1, :15]) == LABELS[1].scores
    assert made.weights[0].tolist() == [0.0, 1.0, 0.25, *[1.0] * 13]
    assert made.weights[1].tolist() == [1.0, 1.0, 0.25, *[1.0] * 13]
    targets = [reply.reply for example in made.examples for reply in example.replies]
    assert sorted(targets) == [[row] for row in range(8)]


def test_views_of_a_window_share_a_row_and_what_is_too_long_is_counted() -> None:
    shorter = structs.replace(LABELS[7], cut=1, view=LABELS[7].view[:60])
    made = regression_set([*LABELS, shorter], HEAD_LESSON, tiny_tokenizer())
    assert (len(made.examples), made.labels) == (8, 9)
    longest = max(len(prompt_ids(tiny_tokenizer(), LESSON.prompt, label.view)) for label in LABELS)
    made = regression_set(LABELS, HEAD_LESSON._replace(context_tokens=longest - 1), tiny_tokenizer())
    assert made.too_long > 0
    with pytest.raises(ConfigError, match="labels_too_long"):
        regression_set(LABELS, HEAD_LESSON._replace(context_tokens=3), tiny_tokenizer())


@settings(deadline=None)
@given(VALUES, VALUES, WEIGHTS, st.floats(0.1, 3))
def test_the_loss_is_the_weighted_mean_of_hubers(
    given_: list[float], wanted: list[float], weights: list[float], delta: float
) -> None:
    def huber(error: float) -> float:
        return error**2 / 2 if abs(error) <= delta else delta * (abs(error) - delta / 2)

    total = sum(w * huber(a - b) for a, b, w in zip(given_, wanted, weights, strict=True))
    mean = total / sum(weights) if sum(weights) else 0.0
    given, points, shares = (torch.tensor([values]) for values in (given_, wanted, weights))
    found = weighted_huber(given, points, shares, delta)
    assert float(found) == pytest.approx(mean, rel=1e-3, abs=1e-4)


def test_a_stopped_head_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = training(tmp_path / "whole", student), training(tmp_path / "stopped", student)
    summary = run_training(whole, print)
    with monkeypatch.context() as patch:
        stop_at(6, patch)
        with pytest.raises(KeyboardInterrupt):
            run_training(stopped, print)
    assert not stopped.folder.exists()
    said: list[str] = []
    run_training(stopped, said.append)
    assert "text: goes on from step 6" in said
    ours, theirs = (load_file(run.folder / "model.safetensors") for run in (whole, stopped))
    assert {name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])} == set()
    log = orjson.loads((whole.folder / "trainer_state.json").read_bytes())["log_history"]
    losses = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    assert losses[-1] < losses[0]
    assert summary["eval_loss"] == min(losses)
    assert whole.curve.read_bytes().startswith(b"\x89PNG")


def test_another_student_or_other_weights_begin_anew(
    tmp_path: Path, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path, student)
    assert run.head is not None
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            run_training(run, print)
    said: list[str] = []
    other = run._replace(head=run.head._replace(sha256="1" * 64, cells={}))
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            run_training(other, said.append)
    assert "text: reliability, student changed since the last training: it begins anew" in said


def test_the_folder_is_a_classifier_of_sixteen_outputs_that_says_whose_it_is(tmp_path: Path, student: Path) -> None:
    run = training(tmp_path, student)
    run_training(run, print)
    config = AutoConfig.from_pretrained(str(run.folder))
    assert config.architectures == ["Qwen3ForSequenceClassification"]
    assert (config.num_labels, config.problem_type) == (16, "regression")
    assert [config.id2label[number] for number in range(16)] == [*SLOTS, "overall"]
    assert (config.mira["mode"], config.mira["group"], config.mira["prompt"]) == ("head", "text", "0" * 64)
    assert not (run.folder / "generation_config.json").exists()
    assert (run.folder / "tokenizer.json").read_bytes() == (student / "tokenizer.json").read_bytes()
    known = config.mira["known"]
    ids = prompt_ids(tiny_tokenizer(), LESSON.prompt, TEXTS[0])
    assert known["prompt_tokens"] == len(ids)
    assert np.abs(head_outputs(load_head(run.folder), [ids], RECIPE)[0] - known["outputs"]).max() < 0.01
    plain = Qwen3ForSequenceClassification.from_pretrained(str(run.folder), dtype=torch.float32).eval()
    with torch.no_grad():
        logits = plain(input_ids=torch.tensor([ids])).logits[0].numpy()
    assert np.abs(logits - known["outputs"]).max() < 0.5  # bfloat16 in so narrow a student
    scores = head_scores(run.folder, LESSON.prompt, LABELS[:3], 1)
    assert np.abs(np.array(scores)[:, :15] - [label.scores for label in LABELS[:3]]).mean() < 2.5


def test_a_head_needs_a_student_from_scratch(tmp_path: Path, student: Path) -> None:
    with pytest.raises(ConfigError, match="student_invalid"):
        new_head(tmp_path)
    other = tmp_path / "other"
    model = new_student(RECIPE.scratch, vocabulary(tiny_tokenizer()), 1)
    write_model(other, model, dict(model.state_dict()), Making("t", "text", "r1", 1, 1, base="big"))
    with pytest.raises(ConfigError, match="head_base"):
        new_head(other)
