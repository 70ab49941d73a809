"""The sample: sources alike, strata as they are, copies once, the same whatever the order."""

from hypothesis import given
from hypothesis import strategies as st

from mira_stream.discovery.questions import Asked, Cutting, by_characters, draw_sample, questions, sampled_texts
from mira_stream.discovery.sampling import Sampler, shares
from mira_stream.errors import DocumentError
from mira_stream.messages import Document
from mira_stream.sections import GroupSection


def document(source: str, number: int, length: int = 40) -> Document:
    return Document(id=f"{source}-{number}", source=source, text=f"{source} {number} ".ljust(length, "x"))


def test_sources_have_equal_shares_and_a_small_one_leaves_the_rest() -> None:
    documents = [document("big", n) for n in range(100)] + [document("small", n) for n in range(3)]
    sample = draw_sample(documents, "text", 20, 0)
    assert sample.counts == {"big": {"short": 17}, "small": {"short": 3}}
    assert sample.documents == 20


def test_strata_follow_what_a_source_has() -> None:
    documents = [document("s", n) for n in range(75)] + [document("s", n, 5_000) for n in range(75, 100)]
    assert draw_sample(documents, "text", 20, 0).counts == {"s": {"short": 15, "long": 5}}


def test_copies_count_once() -> None:
    copies = [Document(id=f"d{n}", source="s", text="the same") for n in range(50)]
    sample = draw_sample(copies, "text", 20, 0)
    assert sample.documents == 1
    assert [one.id for one, _ in sampled_texts(copies, "text", sample)] == ["d0"]


def test_what_cannot_be_rendered_is_counted() -> None:
    broken = [Document(id="a", source="s", text="  "), Document(id="b", source="s")]
    assert draw_sample([*broken, document("s", 1)], "text", 5, 0).left_out == {"empty_document": 1, "wrong_format": 1}


@given(st.permutations(range(30)), st.integers(1, 40), st.integers(0, 3))
def test_order_does_not_matter(order: list[int], wanted: int, seed: int) -> None:
    documents = [document("ab"[number % 2], number, 40 + 50 * number) for number in range(30)]
    first = draw_sample(documents, "text", wanted, seed).chosen
    assert draw_sample([documents[index] for index in order], "text", wanted, seed).chosen == first
    assert sum(map(len, first.values())) == min(wanted, 30)


def test_a_seed_draws_another_sample() -> None:
    documents = [document("s", number) for number in range(100)]
    drawn = [draw_sample(documents, "text", 10, seed).chosen for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_memory_is_bounded_by_the_sample() -> None:
    sampler = Sampler(5, 0)
    for number in range(1000):
        sampler.add("s", f"text {number}")
    assert sum(len(kept) for kept in sampler._kept.values()) == 5
    assert sum(len(digests) for digests in sampler._digests.values()) == 5


@given(
    st.integers(0, 50),
    st.dictionaries(st.text(max_size=2), st.tuples(st.integers(1, 9), st.integers(0, 20)), max_size=6),
)
def test_shares_use_all_there_is(total: int, given_: dict[str, tuple[int, int]]) -> None:
    room = {key: most for key, (_, most) in given_.items()}
    found = shares(total, {key: weight for key, (weight, _) in given_.items()}, room)
    assert sum(found.values()) == min(total, sum(room.values()))
    assert all(0 <= found[key] <= room[key] for key in room)


def test_questions_are_cut_and_a_refusal_is_said() -> None:
    texts = [(document("s", 1), "word " * 400), (document("s", 2), "short"), (document("s", 1), "again")]
    refusing = GroupSection(family="text", document_tokens_max=20, too_long="reject")
    found = list(questions(texts, "g", Cutting(refusing, 1000, by_characters), 99))
    assert isinstance(found[0], tuple)
    assert isinstance(found[0][1], DocumentError)
    assert isinstance(found[1], Asked)
    assert (found[1].question.key, found[1].question.max_tokens) == ("discover/g/s/s-2", 99)
    assert isinstance(found[2], Asked)
    assert found[2].question.key.startswith("discover/g/s/s-1#"), "another document under an id that is taken"
    assert len(found) == 3
    cutting = GroupSection(family="text", document_tokens_max=50)
    (whole, *_) = questions(texts, "g", Cutting(cutting, 1000, by_characters), 99)
    assert isinstance(whole, Asked)
    assert "characters left out" in whole.question.messages[1]["content"]
