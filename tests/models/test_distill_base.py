"""From a base model: a random one of a few thousand weights learns replies with trl, on a CPU; and the plan."""

from pathlib import Path

import orjson
import pytest
import torch
from msgspec import structs
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3_5MoeTextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from mira_stream.distill.base import accumulation, exchanges, prepare
from mira_stream.distill.checkpoints import training_folder
from mira_stream.distill.folder import load_student
from mira_stream.distill.plan import memory, shape_of, work
from mira_stream.distill.recipe import Base, Recipe, Training
from mira_stream.distill.run import TrainingRun, run_training
from mira_stream.distill.tokenizer import save_tokenizer
from mira_stream.errors import ConfigError
from mira_stream.scoring.student import check_student
from tests.models.student_tiny import tiny_tokenizer
from tests.models.test_distill_training import LABELS, LESSON, stop_at

pytestmark = pytest.mark.models

SIZES = {
    "vocab_size": 560, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": True,
    "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip


def base_folder(folder: Path, kind: str) -> Path:
    """A model folder as one finds it: random weights, a tokenizer and a chat template."""
    torch.manual_seed(0)
    made = Qwen3ForCausalLM(Qwen3Config(**SIZES)) if kind == "qwen" else LlamaForCausalLM(LlamaConfig(**SIZES))
    made.save_pretrained(str(folder))
    save_tokenizer(tiny_tokenizer(), folder)
    return folder


def training(root: Path, kind: str = "qwen", passes: int = 8) -> TrainingRun:
    base = Base(model=base_folder(root / "base", kind).name, learning_rate=1e-2, batch_replies=6, device_replies=3)
    recipe = Recipe(training=Training(passes=passes, evaluate_every=4), base=base)
    return TrainingRun(root, root / "student", root / "curve.png", "text", "t", "r1", LESSON, LABELS, recipe, 1)


@pytest.mark.parametrize("kind", ["qwen", "llama"])
def test_a_base_model_learns_and_its_own_tokenizer_goes_with_it(tmp_path: Path, kind: str) -> None:
    run = training(tmp_path, kind)
    said: list[str] = []
    summary = run_training(run, said.append)
    check_student(run.folder)
    state = orjson.loads((run.folder / "trainer_state.json").read_bytes())
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert len(losses) == 2
    assert losses[1] < losses[0] - 0.3
    assert summary["step"] == 8
    config = orjson.loads((run.folder / "config.json").read_bytes())
    assert (config["dtype"], config["use_cache"], config["mira"]["base"]) == ("bfloat16", True, "base")
    model = AutoModelForCausalLM.from_pretrained(str(run.folder), local_files_only=True)
    assert type(model).__name__ == ("Qwen3ForCausalLM" if kind == "qwen" else "LlamaForCausalLM")
    base, own = (AutoTokenizer.from_pretrained(str(folder)) for folder in (tmp_path / "base", run.folder))
    assert base.chat_template == own.chat_template
    assert base.get_vocab() == own.get_vocab()
    assert not list(run.folder.glob("*.bin"))
    assert not training_folder(run.folder).exists()
    with pytest.raises(ConfigError, match="student_served"):
        load_student(run.folder)


def test_a_stopped_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(tmp_path)
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run_training(run, print)
    said: list[str] = []
    assert run_training(run, said.append)["step"] == 8
    assert "text: goes on from step 3" in said


def test_only_the_reply_carries_loss(tmp_path: Path) -> None:
    """The labels of a batch are the reply's tokens and the end of the turn; and no other token moves the loss."""
    run = training(tmp_path)
    trainer = prepare(run.base_model, tmp_path / "work", LABELS, LESSON, run.recipe, [], print).trainer
    batch = next(iter(trainer.get_train_dataloader()))
    tokenizer = trainer.processing_class
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        taught = tokenizer.decode(labels[labels != -100])
        assert taught.startswith("[A1] ")
        assert taught.endswith("training_recommendation: drop<|im_end|>")
        first = int((labels != -100).nonzero()[0])
        assert tokenizer.decode(ids[:first]).endswith("<|im_start|>assistant\n")
        assert "Judge." in tokenizer.decode(ids[:first])
        assert (labels[:first] == -100).all()
        opened = tokenizer.decode(ids[:first])
        assert ids[:first].tolist() == tokenizer(opened, add_special_tokens=False)["input_ids"]
    model = trainer.model.eval()
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].float()
        wanted = batch["labels"][:, 1:]
        own = torch.nn.functional.cross_entropy(logits[wanted != -100], wanted[wanted != -100])
        loss = trainer.compute_loss(model, dict(batch))
    assert float(loss) == pytest.approx(float(own), abs=0.02)  # bfloat16 against float32


def test_replies_longer_than_the_context_are_left_out_and_counted(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    found, too_long = exchanges(LABELS, "distill", LESSON._replace(context_tokens=75), tokenizer)
    assert 0 < len(found) < 6
    assert len(found) + too_long == 6
    run = training(tmp_path)
    short = run._replace(lesson=LESSON._replace(context_tokens=9))
    with pytest.raises(ConfigError, match="labels_too_long"):
        run_training(short, print)


def test_a_base_without_a_chat_template_or_without_a_model_is_refused(tmp_path: Path) -> None:
    run = training(tmp_path)
    path = tmp_path / "base" / "tokenizer_config.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "chat_template": None}))
    with pytest.raises(ConfigError, match="base_template_missing"):
        run_training(run, print)
    with pytest.raises(ConfigError, match="base_unreadable"):
        shape_of(str(tmp_path / "none"))


def test_a_batch_is_the_same_on_any_number_of_processes() -> None:
    recipe = Recipe(base=Base(batch_replies=64, device_replies=2))
    assert [accumulation(recipe, processes) for processes in (1, 8, 32)] == [32, 4, 1]
    for processes in (3, 64):
        with pytest.raises(ConfigError, match="batch_uneven"):
            accumulation(recipe, processes)


def test_the_plan_of_a_35_billion_mixture_of_experts(tmp_path: Path) -> None:
    """Qwen3.5-35B-A3B's sizes are transformers' defaults of its class."""
    Qwen3_5MoeTextConfig().save_pretrained(str(tmp_path))
    shape = shape_of(str(tmp_path))
    assert 34e9 < shape.parameters < 36e9
    assert 3e9 < shape.active < 4e9
    one, eight = (memory(shape, Base(), 32_768, devices, 141) for devices in (1, 8))
    assert one.weights == pytest.approx(4 * shape.parameters / 2**30, abs=0.01)
    assert one.optimizer == pytest.approx(2 * one.weights, abs=0.02)
    assert one.total == pytest.approx(sum(getattr(one, name) for name in MEMORY), abs=0.05)
    assert (one.fits, eight.fits) == (False, True)
    assert eight.weights == pytest.approx(one.weights / 8, abs=0.01)
    half = memory(shape, structs.replace(Base(), weights="bfloat16"), 32_768, 8, 141)
    assert half.weights == pytest.approx(eight.weights / 2, abs=0.01)


def test_the_plan_counts_what_a_model_really_holds(tmp_path: Path) -> None:
    folder = base_folder(tmp_path / "base", "qwen")
    model = AutoModelForCausalLM.from_pretrained(str(folder))
    shape = shape_of(str(folder))
    assert shape.parameters == shape.active == model.num_parameters()
    done = work([(100, 30), (90, 40), (10, 5)], Recipe(base=Base(batch_replies=2)), estimated=False)
    assert (done.tokens, done.reply_tokens, done.longest_tokens, done.steps) == (275, 75, 130, 2)


MEMORY = ("weights", "gradients", "optimizer", "gathered", "activations", "logits")
