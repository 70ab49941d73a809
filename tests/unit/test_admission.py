"""Admission never counts wrong, and opens again only below the low mark."""

from hypothesis import given
from hypothesis import strategies as st

from mira_stream.records import Record
from mira_stream.streaming.admission import LOW_MARK, UNITS, Admission, Amount


def record(partition: int, offset: int, size: int = 10) -> Record:
    return Record("t", partition, offset, 0, None, b"x" * size)


@given(st.lists(st.tuples(st.sampled_from(["admit", "settle", "drop"]), st.integers(0, 2), st.integers(0, 9))))
def test_used_is_the_sum_of_what_is_in_flight(actions: list[tuple[str, int, int]]) -> None:
    admission = Admission(Amount(1000, 10_000, 10_000))
    model: dict[tuple[int, int], int] = {}
    for action, partition, offset in actions:
        one = record(partition, offset, size=offset + 1)
        if action == "admit" and (partition, offset) not in model:
            admission.admit(one, tokens=offset)
            model[partition, offset] = offset
        elif action == "settle":
            admission.settle(one.source, offset)
            model.pop((partition, offset), None)
        elif action == "drop":
            admission.drop(one.source)
            model = {key: value for key, value in model.items() if key[0] != partition}
        assert admission.used == Amount(len(model), sum(model.values()), sum(o + 1 for _, o in model))


def test_full_stays_full_until_the_low_mark() -> None:
    admission = Admission(Amount(64, 10_000, 10_000))
    for offset in range(64):
        admission.admit(record(0, offset), tokens=1)
    assert admission.credit() == 0
    admission.settle(record(0, 0).source, 0)
    assert admission.used.documents > LOW_MARK * 64
    assert admission.credit() == 0
    admission.settle(record(0, 1).source, 1)
    assert admission.credit() == 2


def test_tokens_and_bytes_close_it_too() -> None:
    by_tokens = Admission(Amount(100, 50, 10_000))
    by_tokens.admit(record(0, 0), tokens=50)
    assert by_tokens.credit() == 0
    by_bytes = Admission(Amount(100, 50, 10))
    by_bytes.admit(record(0, 0, size=10), tokens=1)
    assert by_bytes.credit() == 0


@given(
    st.integers(1, 100), st.integers(1, 100), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=9)
)
def test_one_poll_overshoots_by_its_last_document_at_most(tokens: int, size: int, sizes: list[tuple[int, int]]) -> None:
    admission = Admission(Amount(100, tokens, size))
    room = admission.room()
    for offset, (each_tokens, each_size) in enumerate(sizes):
        before = admission.used
        assert before.tokens < tokens
        assert before.bytes < size
        admission.admit(record(0, offset, size=each_size), tokens=each_tokens)
        if not room.take(each_tokens, each_size):
            assert admission.credit() == 0
            return
    assert admission.credit() > 0


@given(
    st.sampled_from(UNITS),
    st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=80),
)
def test_each_of_the_three_has_a_high_and_a_low_mark(unit: str, steps: list[tuple[bool, int]]) -> None:
    """Full from the limit on until at or below the low mark, whichever of the three it is."""
    limit = Amount(**{name: 100 if name == unit else 10**6 for name in UNITS})
    admission, sizes, full = Admission(limit), dict[int, int](), False
    for number, (admits, size) in enumerate(steps):
        if admits and admission.credit():
            sizes[number] = size
            one = record(0, number, size=size if unit == "bytes" else 1)
            admission.admit(one, tokens=size if unit == "tokens" else 1)
        elif sizes:
            offset = next(iter(sizes))
            del sizes[offset]
            admission.settle(record(0, offset).source, offset)
        used = len(sizes) if unit == "documents" else sum(sizes.values())
        full = used >= 100 or (full and used > LOW_MARK * 100)
        assert (admission.credit() == 0) == full
        assert admission.is_throttled == (used > LOW_MARK * 100)
        if full:
            assert admission.fullest == unit
