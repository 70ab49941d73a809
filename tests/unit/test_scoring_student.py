"""A student's folder is looked through before anything of it is loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from mira_stream.errors import ConfigError
from mira_stream.render import neutralise
from mira_stream.scoring.student import check_student, student_sha256
from mira_stream.scoring.tokenizer import StudentTokenizer

CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 1,
    "hidden_size": 4,
    "vocab_size": 300,
}


@pytest.fixture
def student(tmp_path: Path) -> Path:
    folder = tmp_path / "random-student"
    folder.mkdir()
    write(folder, "config.json", CONFIG)
    write(folder, "tokenizer_config.json", {"chat_template": "{{ messages }}"})
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(vocab_size=300, special_tokens=["<|im_end|>"], initial_alphabet=ByteLevel.alphabet())
    tokenizer.train_from_iterator(["def f(): return 1"], trainer)
    tokenizer.add_tokens([AddedToken("<turn>", special=False), AddedToken("    ", special=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = {
        "model.embed_tokens.weight": np.zeros((300, 4), np.float32),
        "model.layers.0.mlp.weight": np.zeros((4, 4), np.float32),
    }
    save_file(weights, folder / "model.safetensors")
    return folder


def write(folder: Path, name: str, value: object) -> None:
    (folder / name).write_bytes(orjson.dumps(value))


def test_a_whole_folder_is_accepted(student: Path) -> None:
    check_student(student)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_missing_file_is_named(student: Path, name: str) -> None:
    (student / name).unlink()
    with pytest.raises(ConfigError, match="student_incomplete"):
        check_student(student)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="student_missing"):
        check_student(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.PTH", "optimizer.pkl"])
def test_weights_that_can_run_code_are_refused(student: Path, name: str) -> None:
    (student / name).write_bytes(b"")
    with pytest.raises(ConfigError, match="student_unsafe"):
        check_student(student, trust_remote_code=True)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_of_its_own_is_refused_unless_trusted(student: Path, name: str) -> None:
    base = orjson.loads((student / name).read_bytes()) if (student / name).exists() else {}
    write(student, name, base | {"auto_map": {"AutoModel": "modeling.Evil"}})
    with pytest.raises(ConfigError, match="auto_map"):
        check_student(student)
    check_student(student, trust_remote_code=True)


def test_a_template_may_be_a_file(student: Path) -> None:
    write(student, "tokenizer_config.json", {})
    with pytest.raises(ConfigError, match="chat template"):
        check_student(student)
    (student / "chat_template.jinja").write_text("{{ messages }}")
    check_student(student)


@pytest.mark.parametrize(
    "change",
    [{"architectures": []}, {"hidden_size": None}, {"num_hidden_layers": 2}, {"vocab_size": 299}, {"hidden_size": 8}],
)
def test_a_config_that_speaks_of_other_weights_is_refused(student: Path, change: dict[str, Any]) -> None:
    write(student, "config.json", CONFIG | change)
    with pytest.raises(ConfigError, match="student_invalid"):
        check_student(student)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x10\0\0\0\0\0\0\0{}"])
def test_weights_that_are_none_are_refused(student: Path, content: bytes) -> None:
    (student / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match="student_invalid"):
        check_student(student)


def test_weights_that_were_cut_off_are_refused(student: Path) -> None:
    path = student / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="cut off"):
        check_student(student)


def test_json_that_is_none_is_refused(student: Path) -> None:
    (student / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="student_invalid"):
        check_student(student)


def test_identity_is_that_of_the_files_that_answer(student: Path) -> None:
    before = student_sha256(student)
    write(student, "trainer_state.json", {"loss": 1})
    (student / "README.md").write_text("a card")
    assert student_sha256(student) == before
    write(student, "config.json", CONFIG | {"rope_theta": 1})
    assert student_sha256(student) != before


def test_its_control_tokens_are_known_and_broken_apart(student: Path) -> None:
    tokenizer = StudentTokenizer(student)
    assert set(tokenizer.special_tokens) == {"<|im_end|>", "<turn>"}
    assert tokenizer.basis == "tokenizer:random-student"
    plain, marked = len(tokenizer.tokenize("a turn b")), "a <turn> b"
    shown = neutralise(marked, tokenizer.special_tokens)
    assert len(tokenizer.tokenize(shown)) > plain
    assert shown == "a < turn> b"


def test_offsets_are_characters(student: Path) -> None:
    text = "naïve 🙂 def"
    offsets = StudentTokenizer(student).tokenize(text)
    assert offsets[0][0] == 0
    assert offsets[-1][1] == len(text)


def test_a_tokenizer_that_is_none_is_refused(student: Path) -> None:
    (student / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="student_invalid"):
        StudentTokenizer(student)
