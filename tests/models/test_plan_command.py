"""`mira-stream plan` on models that are known: the demo's students, the released students' base, small ones."""

import io
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
import transformers
from safetensors.numpy import save_file

import mira_stream
from mira_stream.benching.frame import Frame
from mira_stream.benching.saving import save
from mira_stream.cli.main import main
from mira_stream.errors import ConfigError, UsageError
from mira_stream.planning.reading import base_model, read_model, weights_size
from tests.unit.test_plan_prompts import of
from tests.unit.test_planning import measured

pytestmark = pytest.mark.models

STUDENT = Path(__file__).parents[2] / "mira_stream/demo/project/students/text"
CORPUS = ["--documents", "231762", "--mean-tokens", "60000", "--reply-tokens", "1000"]


def planned(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str) -> dict[str, Any]:
    assert main(["plan", *arguments, "--json"]) == 0
    (line,) = capsysbinary.readouterr().out.splitlines()
    found: dict[str, Any] = orjson.loads(line)
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
    base = base_model("qwen3_5_moe_text", "base", 65_536)
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


def with_config(folder: Path, **changes: Any) -> str:
    """The demo's student with other numbers in its config.json, without weights."""
    folder.mkdir()
    config = orjson.loads((STUDENT / "config.json").read_bytes())
    (folder / "config.json").write_bytes(orjson.dumps(config | changes))
    return str(folder)


def test_code_of_a_model_folder_is_never_run_and_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """transformers asks on standard output whether to run it, and does so at `y`."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\n"))
    own = {"AutoConfig": "conf.Own", "AutoModelForCausalLM": "conf.Model"}
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    strange, known = (with_config(tmp_path / kind, model_type=kind, auto_map=own) for kind in ("strange", "qwen3"))
    for folder in (strange, known):
        (Path(folder) / "conf.py").write_text(code)
    assert main(["plan", *CORPUS, "--model", strange, "--json"]) == 3
    said = capsysbinary.readouterr()
    assert said.out == b""
    assert b"base_code" in said.err
    small = ["--documents", "10", "--mean-tokens", "100", "--reply-tokens", "10"]
    assert planned(capsysbinary, *small, "--model", known)["model"]["name"] == known
    assert not (tmp_path / "ran").exists()


def test_no_loader_of_any_model_leaves_it_to_a_prompt() -> None:
    """Without the argument transformers asks whoever is there; a group's own setting decides for its engine."""
    package = Path(mira_stream.__file__).parent
    calls = [
        (path.name, call)
        for path in package.rglob("*.py")
        for call in re.findall(r"\bAuto\w+\.from_pretrained\([^()]*(?:\([^()]*\)[^()]*)*\)", path.read_text())
    ]
    assert len(calls) >= 6
    assert [name for name, call in calls if "trust_remote_code=" not in call] == []


@pytest.mark.parametrize("changes", [
    {"num_hidden_layers": 0}, {"hidden_size": "x"}, {"hidden_size": 10**18}, {"vocab_size": None}, {"dtype": "foo"},
    {"layer_types": "abcd"}, {"num_experts": 2, "num_experts_per_tok": 20}, {"quantization_config": 5},
    {"model_type": "bert", "layer_types": None, "num_key_value_heads": None},
])  # fmt: skip
def test_a_config_that_describes_no_model_is_an_error_and_no_bug(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="base_unreadable"):
        read_model(with_config(tmp_path / "model", **changes))


def test_weights_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    folder = with_config(tmp_path / "model")
    whole = (STUDENT / "model.safetensors").read_bytes()
    for part in (b"", whole[:500], whole[: len(whole) // 2]):
        (Path(folder) / "model.safetensors").write_bytes(part)
        with pytest.raises(ConfigError, match=r"weights_unreadable.*model\.safetensors"):
            read_model(folder)


def test_the_context_is_that_of_the_engine(tmp_path: Path) -> None:
    scaled = {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0}}
    yarn = {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10_000.0}}
    assert read_model(str(STUDENT)).context_tokens == 2048
    assert read_model(with_config(tmp_path / "linear", **scaled)).context_tokens == 4 * 2048
    assert read_model(with_config(tmp_path / "yarn", **yarn)).context_tokens == 2048
    assert base_model("qwen3_5_moe_text", "base", 65_536).context_tokens == 65_536


def test_documents_that_no_engine_reads_whole_are_said(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    asked = ["--documents", "9", "--reply-tokens", "48", "--model", str(STUDENT)]
    assert main(["plan", *asked, "--mean-tokens", "3000"]) == 2
    assert b"context_short" in capsysbinary.readouterr().err
    assert main(["plan", *asked, "--mean-tokens", "300", "--p95-tokens", "600", "--gpus", "1"]) == 0
    told = " ".join(capsysbinary.readouterr().out.decode().replace("│", " ").split())
    assert "99.5 % are shorter" in told
    assert "1 engine, 1 GPU, 4 partitions" in told
    assert "0.0 h" not in told
    (note,) = planned(capsysbinary, *asked, "--mean-tokens", "1000", "--p95-tokens", "2500")["notes"]
    assert "--document-tokens-max 2000" in note


@pytest.mark.parametrize("more", [
    ["--mean-tokens", "inf"], ["--mean-tokens", "nan"], ["--mean-tokens", "1e300"], ["--hours", "nan"],
    ["--documents", "9" * 400], ["--gpus", "9" * 400], ["--mode", "expectd"], ["--mode", "scores"],
    ["--run", "a.json", "--mode", "expectd"],
])  # fmt: skip
def test_numbers_that_are_none_and_modes_that_count_for_nothing_are_refused(more: list[str]) -> None:
    assert main(["plan", *CORPUS, *more]) == 2


def test_options_that_a_measured_run_takes_no_notice_of_are_refused(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = save(measured(), tmp_path)
    for more in (["--gpu", "nonsense"], ["--dtype", "int4", "--compute", "0.4"]):
        assert main(["plan", *CORPUS[:4], "--run", str(path), *more]) == 2
        assert all(name.encode() in capsysbinary.readouterr().err for name in more[:1])


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


def test_of_a_saved_run_a_plan_takes_what_its_prompts_share(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A head of 400, of which 380 come from the cache, documents of 290, a tail of 10."""
    path = save(of(frame=Frame(400, 10)), tmp_path)
    asked = ["--documents", "100", "--mean-tokens", "590", "--run", str(path)]
    found = planned(capsysbinary, *asked)
    assert (found["corpus"]["prefix_tokens"], found["rate"]["computed_tokens"]) == (400, 620)
    assert found["rate"]["prompts"] == {"tokens": 700, "cached": 380, "frame": {"head": 400, "tail": 10}}
    assert planned(capsysbinary, *asked, "--prefix-tokens", "0")["rate"]["computed_tokens"] == 600
    assert main(["plan", *asked]) == 0
    told = " ".join(capsysbinary.readouterr().out.decode().replace("│", " ").split())
    assert "700 tokens a prompt (320 computed, 380 from the prefix cache; all alike in the first 400" in told
    assert "1.94 times the tokens to compute (620 of a prompt beside 320)" in told


def test_what_does_not_fit_the_context_that_the_released_students_are_served_with_is_said(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    asked = ["--documents", "1000", "--reply-tokens", "1000"]
    (note,) = planned(capsysbinary, *asked, "--mean-tokens", "20000", "--p95-tokens", "70000")["notes"]
    assert "context of 65,536 tokens (as the released students are served)" in note
    assert "--document-tokens-max 64536" in note
    assert planned(capsysbinary, *asked, "--mean-tokens", "20000")["notes"] == []
    assert main(["plan", *asked, "--mean-tokens", "80000"]) == 2
    assert b"context_short" in capsysbinary.readouterr().err


def test_by_what_a_measured_rate_was_scaled_is_said(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The run has prompts of 200 tokens and replies of 30, ten documents a second."""
    path = save(measured(), tmp_path)

    def told(*more: str) -> str:
        assert main(["plan", "--documents", "100", "--run", str(path), *more]) == 0
        return " ".join(capsysbinary.readouterr().out.decode().replace("│", " ").split())

    short = told("--mean-tokens", "100")
    assert "10 documents/s: 0.50 times the tokens to compute (100 of a prompt beside 200), its replies 1.00" in short
    assert "times as long; by the greater" in short
    assert "of 200 tokens a prompt (200 computed) and 30 generated, group text" in short
    assert "10.00 documents/s, median of its repetitions" in short
    assert "2.00 times the tokens to compute (400 of a prompt beside 200)" in told("--mean-tokens", "400")
    assert "counted as cheaper" not in told("--mean-tokens", "200")
    one = told("--mean-tokens", "1", "--engines", "100")
    assert "100 documents of 1 token;" in one
    assert main(["plan", "--documents", "1", "--mean-tokens", "1", "--run", str(path), "--engines", "2"]) == 2
    assert b"plan_wanted" in capsysbinary.readouterr().err
