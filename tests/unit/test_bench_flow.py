"""What is pure of the pipe's benchmark."""

import pytest

from bench.command.arguments import Parser
from bench.flow import rate_of, speedup
from bench.flowing.flat import course_of
from bench.flowing.job import Sample, Turn
from bench.flowing.parsing import KINDS, replies_a_second
from bench.flowing.running import texts


def turn(*samples: tuple[int, float, float, float]) -> Turn:
    return Turn(samples=[Sample(*one) for one in samples])


def test_a_turn_is_measured_from_the_first_documents_asked_for() -> None:
    one = turn((0, 10.0, 1.0, 50.0), (100, 11.0, 1.5, 60.0), (400, 12.0, 1.8, 60.0))
    assert one.cpu_us == pytest.approx(2_000)
    assert one.rate == 200


def test_members_are_measured_together_from_their_first_transactions() -> None:
    one = turn((0, 0.0, 0.0, 1.0), (10, 5.0, 0.0, 1.0), (110, 15.0, 0.0, 1.0))
    other = turn((0, 0.0, 0.0, 1.0), (20, 6.0, 0.0, 1.0), (220, 15.0, 0.0, 1.0))
    assert rate_of([one, other]) == pytest.approx((100 + 200) / 10)
    assert speedup({1: [10.0, 20.0, 10.0], 2: [19.0, 30.0, 40.0]}) == 1.9


def test_a_course_that_is_flat_and_one_that_is_not() -> None:
    flat = course_of(turn(*((n * 1_000, n, n * 0.05, 100.0 if n > 5 else 60.0) for n in range(200))))
    assert flat.settled.documents == 10_000
    assert (flat.memory, flat.cost) == pytest.approx((1.0, 1.0))
    assert len(flat.pieces) <= 21
    growing = course_of(turn(*((n * 1_000, n, n * n * 0.01, 100.0 + n) for n in range(200))))
    assert growing.memory == pytest.approx(299 / 110)
    assert growing.cost > 2
    assert growing.figures()["documents"] == 199_000
    samples = [(n * 1_000, float(n), n * 0.05, 500.0 if n == 102 else 100.0) for n in range(1_000)]
    assert course_of(turn(*samples)).memory == 5, "between the ends of two pieces, too"


def test_a_handful_at_the_end_is_no_piece_of_its_own() -> None:
    """50 µs a document, and 400 of the last ten."""
    samples = [(n * 1_000, n * 1.0, n * 0.05, 100.0) for n in range(100)]
    found = course_of(turn(*samples, (99_010, 99.1, 99 * 0.05 + 0.004, 100.0)))
    assert found.pieces[-1].documents == 99_010
    assert found.cost == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_replies_of_each_kind_are_read_whole(kind: str) -> None:
    assert replies_a_second(kind, 20) > 0


def test_documents_differ() -> None:
    assert len(set(texts(200))) == 200


def test_what_is_named_twice_is_measured_once() -> None:
    parser = Parser(None)
    parser.add_argument("--side", action="append")
    parser.add_argument("--clients", nargs="+", type=int)
    given = parser.parse_args(["--side", "a", "--clients", "4", "1", "4", "--side", "b", "--side", "a"])
    assert (given.side, given.clients) == (["a", "b"], [4, 1])
    assert parser.parse_args([]).side is None
