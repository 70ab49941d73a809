"""Prompts read piece by piece are those that the chat template and its tokenizer make in one go."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

import mira_stream.demo
from mira_stream.render import neutralise
from mira_stream.scoring.seams import PROVEN, part
from mira_stream.scoring.tokenizer import StudentTokenizer
from mira_stream.vllm_engine.prompts import ChatPrompts

pytestmark = pytest.mark.models
STUDENTS = Path(mira_stream.demo.__file__).parent / "project" / "students"
TEMPLATE = "{% for m in messages %}<s>{{ m.role }} {{ m.content }}{% endfor %}<s>reply"
SHARED = "You judge documents by a rubric.  \n\n[A1] Clarity"


def in_one_go(chat: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    made = chat.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False, enable_thinking=False
    )
    assert isinstance(made, list)
    return made


def asked(document: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SHARED}, {"role": "user", "content": document}]


def student() -> PreTrainedTokenizerBase:
    found = AutoTokenizer.from_pretrained(str(STUDENTS / "text"))
    assert isinstance(found, PreTrainedTokenizerBase)
    return found


STUDENT = student()
PROMPTS = ChatPrompts(STUDENT)
COUNTING = StudentTokenizer(STUDENTS / "text")
COUNTED = ChatPrompts(STUDENT, COUNTING)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_a_students_prompts_are_those_of_its_template(text: str) -> None:
    document = neutralise(text, ["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    assert PROMPTS.ids(asked(document)) == in_one_go(STUDENT, asked(document))
    assert PROMPTS.in_pieces


@given(
    st.lists(
        st.sampled_from(["judge", "all", " ", " ", "\n", "1", "é", "."]) | st.characters(codec="utf-8"), max_size=300
    )
)
def test_a_document_that_was_counted_is_not_read_again(drawn: list[str]) -> None:
    """What is asked before and behind it runs into it without a seam, and with one."""
    document = neutralise("".join(drawn) * 3, ["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    COUNTING.count(document)
    parted, before = part(document), COUNTING.middle.cache_info()
    for text in (f"Judge {document} now, and all of it", f"{document}s", document):
        assert COUNTED.ids(asked(text), document) == in_one_go(STUDENT, asked(text))
    assert COUNTED.in_pieces
    after = COUNTING.middle.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (0 if parted is None else 3, 0)


def test_a_view_that_was_not_counted_or_is_not_there_changes_nothing() -> None:
    document = "two words and three more words " * 20
    for view in (document, document[:300], "two other words " * 20, ""):
        assert COUNTED.ids(asked(document), view) == in_one_go(STUDENT, asked(document))


def test_the_same_words_elsewhere_are_not_the_document() -> None:
    """Where no seam is at their ends, the last word runs on or the first has another blank before it."""
    document = f"one {'two words and three ' * 20}end of it"
    parted = part(document)
    assert parted is not None
    for elsewhere in (f"1{parted.middle}s", f"\n {parted.middle} x", f"x{parted.middle}s and", f"1{parted.middle} it"):
        assert COUNTED.ids(asked(f"{elsewhere} {document}"), document) == in_one_go(
            STUDENT, asked(f"{elsewhere} {document}")
        )
    assert COUNTED.in_pieces


def words(prepend: str, *, lstrip: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer of letters that puts a mark before a text (`first`) or before every piece of it (`always`)."""
    letters = {letter: at for at, letter in enumerate("abcdefghijklmnopqrstuvwxyzYRA[]1.\n ▁")}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend)
    tokenizer.add_special_tokens([AddedToken("<s>", lstrip=lstrip, special=True)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=[])
    made.chat_template = TEMPLATE
    return made


@pytest.mark.parametrize(
    ("prepend", "lstrip", "in_pieces"), [("first", False, False), ("always", False, True), ("always", True, False)]
)
def test_a_tokenizer_that_minds_where_a_piece_stands_reads_the_whole(
    prepend: str, lstrip: bool, in_pieces: bool
) -> None:
    chat = words(prepend, lstrip=lstrip)
    prompts = ChatPrompts(chat)
    for number in range(2 * PROVEN):
        messages = asked(f" abc {number * 'a'} ")
        assert prompts.ids(messages) == in_one_go(chat, messages)
    assert prompts.in_pieces == in_pieces


def test_what_prompts_share_is_read_once() -> None:
    prompts = ChatPrompts(STUDENT)
    for number in range(100):
        prompts.ids(asked(f"document {number}"))
    known = prompts._piece.cache_info()
    assert known.maxsize is not None
    assert known.currsize <= known.maxsize
    assert known.misses < 100 + 10, "only the documents are new"


def test_the_shipped_students_have_tokenizers_of_this_kind() -> None:
    for folder in sorted(STUDENTS.iterdir()):
        prompts = ChatPrompts(AutoTokenizer.from_pretrained(str(folder)))
        prompts.ids(asked("a document"))
        assert prompts.in_pieces
