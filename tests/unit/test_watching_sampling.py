"""Which documents go to the teacher: as many as asked for, each with a probability that is known and kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.errors import UsageError
from mira_stream.messages import CardPosition, Decision, Origin
from mira_stream.watching.sampling import Sampling, sampling


def decision(offset: int, reason: str = "above", identifier: str = "d") -> Decision:
    return Decision(
        id=identifier,
        source="books",
        group="text",
        origin=Origin(topic="mira.documents.text", partition=0, offset=offset, timestamp_ms=1),
        card=CardPosition(partition=0, offset=offset),
        lineage="l",
        mask="m",
        epoch_of="books",
        epoch=0,
        policy=0,
        decision="keep",
        selected=True,
        reason=reason,
        quality=50.0,
        dimensions_used=["A1"],
        scores=[None] * 15,
    )


@given(st.floats(0.001, 1), st.floats(0, 1), st.sampled_from(["above", "band", "below", "cold_hash", "floor:A1"]))
def test_probabilities_are_probabilities_and_only_the_band_is_near(share: float, band: float, reason: str) -> None:
    inclusion = Sampling(share, band).of(decision(1, reason))
    assert 0 < inclusion.uniform <= inclusion.total <= 1
    assert (inclusion.near > 0) == (reason == "band" and band > 0)


def test_the_sample_is_the_share_half_of_it_near_and_each_arm_as_often_as_it_says() -> None:
    chosen = Sampling(0.04, 0.1)
    decisions = [decision(offset, "band" if offset % 10 == 0 else "above") for offset in range(60_000)]
    taken = [(one, found) for one in decisions if (found := chosen.take(one)) is not None]
    arms = [found.arm for _, found in taken]
    assert arms.count("uniform") / 60_000 == pytest.approx(0.02, rel=0.1)
    assert arms.count("near") / 60_000 == pytest.approx(0.02, rel=0.1)
    assert {one.reason for one, found in taken if found.arm == "near"} == {"band"}
    # Horvitz and Thompson: weights add up to how many documents there are, near or not.
    assert sum(1 / found.inclusion.total for _, found in taken) == pytest.approx(60_000, rel=0.1)
    near = sum(1 / found.inclusion.total for one, found in taken if one.reason == "band")
    assert near == pytest.approx(6_000, rel=0.1)


def test_the_origin_decides_not_the_id() -> None:
    chosen = Sampling(0.5, 0.1)
    same_id = {chosen.take(decision(offset)) is not None for offset in range(100)}
    assert same_id == {True, False}
    assert all(chosen.take(decision(offset, identifier="x")) == chosen.take(decision(offset)) for offset in range(100))
    moved = replace(decision(7), epoch=9, quality=1.0)
    assert chosen.take(moved) == chosen.take(decision(7))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5, float("nan")])
def test_no_share_is_refused(share: float) -> None:
    with pytest.raises(UsageError):
        sampling(share, 0.1)
