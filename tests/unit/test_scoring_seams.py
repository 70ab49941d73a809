"""A text parted at its seams has the tokens of the whole, whatever stands around it."""

from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from mira_stream.render import cut
from mira_stream.scoring.seams import CHARACTERS_MAX, CHARACTERS_MIN, EVERY, PROVEN, is_compared, last_seam, part
from mira_stream.scoring.tokenizer import StudentTokenizer
from mira_stream.sections import TooLong

# The expressions by which these models' tokenizer.json parts a text.
EXPRESSIONS: Final = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "qwen3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
ACROSS: Final = r"\w+ \w+|\s+|\S+"
SAID: Final = (
    "the quick brown fox isn't l'été, 12345 things;\n\n  def f(x):\n\treturn x  # ok\r\nПривет мир 漢字 e\u0301 "
)
WORDS: Final = ("the", "fox", "isn't", "12345", "мир", "été", "e\u0301", "漢字", "x", "_", "'s", ", ")
BLANKS: Final = (" ", "  ", " ", "\n", "\r\n", "\t")
TEXTS: Final = st.lists(st.sampled_from(WORDS + BLANKS) | st.characters(codec="utf-8"), max_size=300).map("".join)


@cache
def tokenizer(expression: str) -> Tokenizer:
    made = Tokenizer(BPE())
    made.normalizer = normalizers.NFC()
    split = Split(Regex(expression), "isolated")
    made.pre_tokenizer = Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    made.train_from_iterator([SAID] * 3, BpeTrainer(vocab_size=400, initial_alphabet=ByteLevel.alphabet()))
    return made


def student(folder: Path, expression: str, *added: AddedToken) -> StudentTokenizer:
    made = Tokenizer.from_str(tokenizer(expression).to_str())
    made.add_tokens(list(added))
    made.save(str(folder / "tokenizer.json"))
    return StudentTokenizer(folder)


def ids(made: Tokenizer, text: str) -> list[int]:
    return list(made.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("name", EXPRESSIONS)
@given(text=TEXTS, left=TEXTS, right=TEXTS)
def test_the_middle_has_the_same_tokens_wherever_it_stands(name: str, text: str, left: str, right: str) -> None:
    parted = part(f"the fox {text * 3} the fox")
    if parted is None:
        return
    made = tokenizer(EXPRESSIONS[name])
    apart = [*ids(made, left + parted.head), *ids(made, parted.middle), *ids(made, parted.tail + right)]
    assert ids(made, f"{left}{''.join(parted)}{right}") == apart


def test_where_a_text_is_parted() -> None:
    words = "one two " + "x" * CHARACTERS_MIN + " three four"
    assert part(words) == ("one", words[3:-5], " four")
    assert part("a b" * 20) is None, "too short to be worth it"
    assert part("a b " * (CHARACTERS_MAX // 4 + 1)) is None, "too long to be kept"
    assert part("1 2 " * CHARACTERS_MIN) is None, "digits and blanks are not read alike everywhere"
    assert part("one two" + "x" * CHARACTERS_MIN) is None, "one seam"
    assert last_seam("") is None
    assert [number for number in range(2 * EVERY) if is_compared(number)] == [*range(PROVEN), EVERY]


@given(
    text=TEXTS, cutoff=st.integers(1, 300), budget=st.integers(1, 300), too_long=st.sampled_from(["head", "head_tail"])
)
def test_a_view_is_cut_alike_by_tokens_that_are_located_late(
    tmp_path_factory: pytest.TempPathFactory, text: str, cutoff: int, budget: int, too_long: TooLong
) -> None:
    lazily = student(tmp_path_factory.getbasetemp(), EXPRESSIONS["qwen3"])
    assert cut(text, lazily.tokenize, cutoff, budget, too_long) == cut(text, lazily.locate, cutoff, budget, too_long)
    assert len(lazily.tokenize(text)) == len(lazily.locate(text)) == len(lazily.tokenize(text)[:])


def test_what_was_counted_is_kept_for_the_prompt(tmp_path: Path) -> None:
    made = student(tmp_path, EXPRESSIONS["llama3"])
    text = "the quick brown fox " * 20
    assert made.count(text) == len(made.locate(text))
    parted = part(text)
    assert parted is not None
    assert list(made.middle(parted.middle)) == ids(tokenizer(EXPRESSIONS["llama3"]), parted.middle)
    assert (made.middle.cache_info().hits, made.middle.cache_info().misses) == (1, 1)


@pytest.mark.parametrize("text", ["the quick brown fox " * 20, "漢字" * 100, "short"])
def test_a_whole_view_is_counted_once(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, counted = student(tmp_path, EXPRESSIONS["qwen3"]), list[str]()
    count = made.count
    monkeypatch.setattr(made, "count", lambda one: counted.append(one) or count(one))  # type: ignore[func-returns-value]
    view = cut(text, made.tokenize, 10_000, 10_000, "head")
    assert (view.tokens, counted) == (len(made.locate(text)), [text])


def test_a_tokenizer_that_reads_across_words_reads_the_whole(tmp_path: Path) -> None:
    made = student(tmp_path, ACROSS)
    texts = [f"{'a' * number} quick brown fox the {'quick brown fox the ' * 10}quick" for number in range(2 * PROVEN)]
    assert [made.count(text) for text in texts] == [len(made.locate(text)) for text in texts]
    assert not made.in_parts


def test_a_token_that_holds_a_seam_forbids_parts(tmp_path: Path) -> None:
    assert student(tmp_path, EXPRESSIONS["gpt2"], AddedToken("[end of turn]")).in_parts is False
    assert student(tmp_path, EXPRESSIONS["gpt2"], AddedToken("<|end|>"), AddedToken("    ")).in_parts
