"""The tokenizer: cheap replies, nothing lost, and the chat text an engine will make."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mira_stream.distill.tokenizer import chat_text, plain_ids, save_tokenizer, tokenize_with, vocabulary
from mira_stream.messages import SLOTS
from mira_stream.scorecard import Reply, write
from tests.models.student_tiny import tiny_tokenizer

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return tiny_tokenizer()


def test_a_score_line_costs_two_tokens_and_a_reply_thirty_five(tokenizer: PreTrainedTokenizerFast) -> None:
    reply = write(Reply([10, 1] * 7 + [5], 54, "downsample"), "scores_first", "scores", SLOTS)
    assert tokenizer.convert_ids_to_tokens(plain_ids(tokenizer, reply))[:4] == ["[A1]", "Ġ10/10", "Ċ[A2]", "Ġ1/10"]
    assert len(plain_ids(tokenizer, reply)) == 34  # and one for the end of the turn


def test_ten_scores_are_ten_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    names = vocabulary(tokenizer)
    assert len(set(names.scores)) == 10
    assert tokenizer.decode(list(names.scores)) == "".join(f" {value}/10" for value in range(1, 11))


@given(text=st.text(max_size=200))
@settings(max_examples=60)
def test_every_text_comes_back_and_offsets_cover_it(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    plain = text.replace("<|", "< |")
    assert tokenizer.decode(plain_ids(tokenizer, plain), skip_special_tokens=False) == plain
    offsets = tokenize_with(tokenizer)(plain)
    covered = {position for start, end in offsets for position in range(start, end)}
    assert covered == set(range(len(plain)))


def test_a_saved_tokenizer_makes_the_same_prompt_by_its_chat_template(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    save_tokenizer(tokenizer, tmp_path)
    loaded = AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    messages = [{"role": "system", "content": "judge\n"}, {"role": "user", "content": " def f(): pass\n\n"}]
    assert loaded.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == chat_text(messages)
    ids = loaded.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert list(ids) == plain_ids(tokenizer, chat_text(messages))
    assert loaded.eos_token_id == vocabulary(tokenizer).end
