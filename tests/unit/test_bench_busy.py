"""What the stream's benchmark asks: documents and replies as long as they are said to be, the same every time."""

from bench.busy.sets import DOCUMENTS, EQUAL_CHARACTERS, NAMES, REPLIES, SHORT_REPLY_TOKENS, SKEW, WAITED, asked, varied
from mira_stream.messages import Document
from mira_stream.scoring.engine import Request

GIVEN = [Document(id=f"{at}", source=f"s{at % 2}", text=f"text {at} of some length. " * 40) for at in range(5)]


def test_documents_are_of_one_length_or_of_lengths_one_to_fifty() -> None:
    for name in NAMES:
        one = asked(name, GIVEN, 400)
        assert one == asked(name, GIVEN, 400)
        assert len({document.id for document in one.documents}) == 400
        assert {document.source for document in one.documents} == {"s0", "s1"}
        lengths = sorted(len(document.text or "") for document in one.documents)
        if name == DOCUMENTS:
            assert 0.9 * SKEW < lengths[-1] / lengths[0] <= SKEW
            assert lengths[200] < (lengths[0] + lengths[-1]) / 4, "most are short"
        else:
            assert set(lengths) == {EQUAL_CHARACTERS}
        assert one.varied == (name in (REPLIES, WAITED))


def test_replies_are_as_long_as_their_lots() -> None:
    tokens = sorted(varied(Request("r", [], 160, seed=seed * 7919)).max_tokens for seed in range(500))
    assert tokens[0] >= SHORT_REPLY_TOKENS
    assert tokens[-1] <= SHORT_REPLY_TOKENS * SKEW
    assert tokens[-1] > 40 * tokens[0]
    assert varied(Request("a", [], 1, seed=5)).max_tokens == varied(Request("b", [], 2, seed=5)).max_tokens
