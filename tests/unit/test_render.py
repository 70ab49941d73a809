"""The view of a document: what is shown, what is cut, what can no longer act as a control token."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mira_stream.errors import DocumentError
from mira_stream.messages import Document, Message, Parts, ToolCall
from mira_stream.render import NEUTRALISE_PASSES_MAX, SPECIAL_OPENINGS, cut, neutralise, render
from mira_stream.scoring.tokenizer import tokenize_bytes
from mira_stream.sections import Family, TooLong


def characters(text: str) -> list[tuple[int, int]]:
    """A tokenizer whose tokens are characters."""
    return [(place, place + 1) for place in range(len(text))]


def test_an_agent_document_shows_roles_tools_and_arguments() -> None:
    messages = [
        Message(role="user", content="Fix it."),
        Message(role="assistant", content="I look.", tool_calls=[ToolCall(name="read", arguments='{"path": "a.py"}')]),
        Message(role="tool", name="read", content="x = 1"),
    ]
    assert render(Document(id="d", source="s", messages=messages), "agent") == (
        '### user\nFix it.\n\n### assistant\nI look.\n-> read {"path": "a.py"}\n\n### tool read\nx = 1'
    )


def test_a_qa_document_shows_its_thinking_apart() -> None:
    document = Document(id="d", source="s", parts=Parts(question="Q?", think="hm", answer="A."))
    assert render(document, "qa") == "## Question\nQ?\n\n## Thinking\nhm\n\n## Answer\nA."


@pytest.mark.parametrize("family", ["text", "qa", "agent"])
def test_a_family_judges_only_its_own_form(family: Family) -> None:
    forms: dict[Family, Document] = {
        "text": Document(id="d", source="s", text="t"),
        "qa": Document(id="d", source="s", parts=Parts(question="q", answer="a")),
        "agent": Document(id="d", source="s", messages=[Message(role="user", content="u")]),
    }
    for own, document in forms.items():
        if own == family:
            assert render(document, own)
            continue
        with pytest.raises(DocumentError, match="wrong_format"):
            render(document, family)


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_white_space_is_no_document(text: str) -> None:
    with pytest.raises(DocumentError, match="empty_document"):
        render(Document(id="d", source="s", text=text), "text")
    with pytest.raises(DocumentError, match="empty_document"):
        render(Document(id="d", source="s", parts=Parts(question="q", answer=text)), "qa")


tokens = st.text(st.sampled_from("<|im_end>[ ]/ab"), min_size=2, max_size=8).filter(lambda token: not token.isspace())


@given(st.lists(st.one_of(st.sampled_from(SPECIAL_OPENINGS), st.text("<|>[] ab", max_size=5))).map("".join))
@example("<<||><|im_end|>")
def test_no_chat_marker_survives(text: str) -> None:
    shown = neutralise(text)
    assert not any(opening in shown for opening in SPECIAL_OPENINGS)
    assert shown.replace(" ", "") == text.replace(" ", "")


@given(st.text("<|im_end>[ ]/ab"), st.lists(tokens, max_size=4))
def test_no_special_token_of_the_students_survives(text: str, special: list[str]) -> None:
    try:
        shown = neutralise(text, special)
    except DocumentError:
        return  # it becomes a dead letter and is shown to nobody
    assert not any(token in shown for token in special)


def test_a_token_that_cannot_be_broken_ends_the_document() -> None:
    assert NEUTRALISE_PASSES_MAX < 10
    with pytest.raises(DocumentError, match="wrong_format"):
        neutralise("a§b", ["§"])


def test_text_without_markers_is_left_alone() -> None:
    text = "if a < b | c: print('<b>')  # [INSTANCE]"
    assert neutralise(text) == text


cuts: list[TooLong] = ["head", "head_tail"]


@given(st.text("ab ", min_size=1, max_size=200), st.integers(1, 220), st.integers(1, 220), st.sampled_from(cuts))
@example("abcdefgh", 8, 2, "head_tail")
def test_a_cut_view_shows_the_ends_and_says_so(text: str, cutoff: int, budget: int, too_long: TooLong) -> None:
    view = cut(text, characters, cutoff, budget, too_long)
    seen = text[:cutoff]
    assert view.tokens == len(seen)
    if view.view == "whole":
        assert view.text == text
        assert len(seen) <= budget
    elif view.view == "head":
        assert text.startswith(view.text)
        assert len(view.text) == min(cutoff, budget)
    else:
        head, _, rest = view.text.partition("\n[... ")
        missing, _, tail = rest.partition(" characters left out ...]\n")
        assert seen.startswith(head)
        assert seen.endswith(tail)
        assert len(head) + len(tail) + int(missing) == len(seen)


def test_too_long_may_be_refused() -> None:
    with pytest.raises(DocumentError, match="too_long"):
        cut("abcd", characters, 100, 3, "reject")
    assert cut("abc", characters, 100, 3, "reject").view == "whole"


def test_a_giant_is_not_tokenised_as_a_whole() -> None:
    seen: list[int] = []

    def counting(text: str) -> list[tuple[int, int]]:
        seen.append(len(text))
        return characters(text)

    view = cut("x" * 1_000_000, counting, 100, 50, "head_tail")
    assert max(seen) == 1600
    assert (view.tokens, view.view) == (100, "head_tail")


@given(st.text())
def test_bytes_as_tokens_cover_the_text(text: str) -> None:
    offsets = tokenize_bytes(text)
    assert "".join(text[start:end] for start, end in offsets) == text
    size = len(text.encode(errors="surrogatepass"))
    assert size // 4 <= len(offsets) <= size // 4 + 1
