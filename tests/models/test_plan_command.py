"""`mira-stream plan` on models that are known: the demo's students, the released students' base, small ones."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
import transformers
from safetensors.numpy import save_file

from mira_stream.benching.saving import save
from mira_stream.cli.main import main
from mira_stream.errors import ConfigError, UsageError
from mira_stream.planning.reading import base_model, read_model, weights_size
from tests.unit.test_planning import measured

pytestmark = pytest.mark.models

STUDENT = Path(__file__).parents[2] / "mira_stream/demo/project/students/text"
CORPUS = ["--documents", "231762", "--mean-tokens", "60000", "--reply-tokens", "1000"]


def planned(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str) -> dict[str, Any]:
    assert main(["plan", *arguments, "--json"]) == 0
    found: dict[str, Any] = orjson.loads(capsysbinary.readouterr().out.splitlines()[-1])
    return found


def test_a_demo_student_has_the_bytes_of_its_files(tmp_path: Path) -> None:
    """Its file is 8 bytes, a header and 2 bytes a parameter; 4 layers keep keys and values of 2 heads of 64."""
    student = read_model(str(STUDENT))
    assert student.weights_bytes == weights_size(STUDENT, tied=True) == 2 * student.parameters
    assert student.weights_by == "the safetensors files"
    assert 0 < (STUDENT / "model.safetensors").stat().st_size - student.weights_bytes < 10_000
    assert student.token_bytes() == 4 * 2 * 2 * 64 * 2
    assert student.state_bytes() == 0
    (tmp_path / "config.json").write_bytes((STUDENT / "config.json").read_bytes())
    by_config = read_model(str(tmp_path))
    assert by_config.weights_bytes == student.weights_bytes
    assert by_config.weights_by == f"{student.parameters:,} parameters in bfloat16"


def test_what_a_file_repeats_and_what_the_engine_does_not_load_is_not_counted(tmp_path: Path) -> None:
    tensors = {name: np.zeros((8, 4), np.float16) for name in ("model.embed_tokens.weight", "lm_head.weight")}
    save_file(tensors | {"mtp.layers.0.weight": np.zeros(3, np.float16)}, tmp_path / "model.safetensors")
    assert weights_size(tmp_path, tied=True) == 8 * 4 * 2
    assert weights_size(tmp_path, tied=False) == 2 * 8 * 4 * 2


def test_the_base_of_the_released_students_keeps_a_tenth_of_what_the_card_implies(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    found = planned(capsysbinary, *CORPUS)
    rows = {row["figure"]: row for row in found["card"]}
    assert rows["weights, GB"]["whole"] == pytest.approx(rows["weights, GB"]["card"], rel=0.02)
    assert rows["left for the cache, GB"]["whole"] == pytest.approx(57, rel=0.02)
    assert rows["bytes a token kept"]["whole"] == 10 * 2 * 2 * 256 * 2
    assert rows["sequences of 65,536 tokens"] == pytest.approx(
        {"figure": rows["sequences of 65,536 tokens"]["figure"], "card": 4, "whole": 41, "split": 175 / 8}
    )
    assert found["model"]["layers"] == {"linear_attention": 30, "full_attention": 10}
    assert (found["engine"]["gpus"], found["fleet"]["engines"], found["fleet"]["gpus"]) == (1, 8, 8)
    assert found["hours_least"] < found["fleet"]["hours"]


def test_of_a_mixture_of_experts_a_token_meets_three_billion() -> None:
    base = base_model("qwen3_5_moe_text", "base")
    assert 34e9 < base.parameters < 36e9
    assert 2e9 < base.body + base.output < 4e9
    assert base.routed == 8 / 256
    assert base.read_bytes(1) / 2 == pytest.approx(base.body + base.output, rel=0.01)


def test_a_small_hybrid_is_counted_by_its_layers(tmp_path: Path) -> None:
    config = transformers.Qwen3_5TextConfig(
        num_hidden_layers=4, hidden_size=32, intermediate_size=48, vocab_size=300, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4,
        linear_key_head_dim=8, linear_value_head_dim=6,
    )  # fmt: skip
    config.save_pretrained(str(tmp_path))
    hybrid = read_model(str(tmp_path))
    assert [layer.kind for layer in hybrid.layers] == ["linear_attention"] * 3 + ["full_attention"]
    assert hybrid.token_bytes() == 2 * 2 * 16 * 2
    assert hybrid.state_bytes() == 3 * 2 * (3 * (2 * 2 * 8 + 4 * 6) + 4 * 6 * 8)


def test_what_cannot_be_planned_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base_unreadable"):
        read_model(str(tmp_path / "none"))
    with pytest.raises(UsageError, match="plan_dtype"):
        read_model(str(STUDENT), "float32")
    config = orjson.loads((STUDENT / "config.json").read_bytes())
    (tmp_path / "config.json").write_bytes(orjson.dumps(config | {"quantization_config": {"quant_method": "fp8"}}))
    with pytest.raises(ConfigError, match="model_quantised"):
        read_model(str(tmp_path))


def test_without_a_reply_length_or_with_two_sources_nothing_is_planned() -> None:
    assert main(["plan", *CORPUS[:4]]) == 2
    assert main(["plan", *CORPUS, "--gpu", "none"]) == 2
    assert main(["plan", *CORPUS, "--run", "a.json", "--model", "b"]) == 2


def test_a_plan_from_a_saved_run(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    path = save(measured(), tmp_path)
    found = planned(capsysbinary, "--documents", "36000", "--mean-tokens", "400", "--run", str(path), "--hours", "1")
    assert found["rate"]["documents_per_s"] == pytest.approx(5)
    assert found["fleet"] == pytest.approx(
        {"engines": 2, "gpus_an_engine": 2, "gpus": 4, "partitions": 8, "documents_per_s": 10, "hours": 1,
         "gpu_hours": 4}
    )  # fmt: skip
    assert msgspec.to_builtins(measured().load) == {"shape": "closed"}
    short = planned(capsysbinary, "--documents", "36000", "--mean-tokens", "40", "--run", str(path))
    assert (short["corpus"]["reply_tokens"], short["rate"]["documents_per_s"]) == (30, pytest.approx(10))
