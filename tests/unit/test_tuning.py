"""The search of `bench tune`: what wins, what noise cannot do, and how it is written down."""

import random
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.config import read_settings
from mira_stream.errors import UsageError
from mira_stream.sections import GroupSection, LimitsSection
from mira_stream.tuning.search import EARLY, VERIFY, Failed, Tuned, interval, search
from mira_stream.tuning.space import NAMES, Choice, Knob, chosen, knobs, with_choice
from mira_stream.tuning.written import with_settings
from tests.simulation.project import simulated_project

GROUP, LIMITS = GroupSection(family="text"), LimitsSection()
ALL = knobs(GROUP, LIMITS, 8, 500, threads=True)
TOML = """# the whole file
[limits]  # of all
in_flight_documents = 96  # many

[groups.text]
# how it is served
family = "text"
max_num_seqs = 64  # for now
max_num_batched_tokens = 2048

[sources.a]
group = "text"  # the only one
"""


def rate_of(choice: Choice) -> float:
    """A machine on which 32 sequences and 4 threads are best, and chunked prefill does not run."""
    if choice.get("chunked_prefill") is False:
        raise Failed("no budget")
    rate = 100.0
    rate *= 1.2 if choice.get("max_num_seqs") == 48 else 1.0
    rate *= {0: 1.0, 1: 0.7, 4: 1.3}.get(int(choice.get("engine_threads") or 0), 1.1)
    return rate


def tuned(tried: list[Knob], noise: float, seed: int, pairs: int = 6) -> tuple[Tuned, int]:
    """The search against `rate_of` under noise, and how often something was measured."""
    chance, steps, count = random.Random(seed), search(tried, pairs), 0
    try:
        ask = next(steps)
        while True:
            count += 1
            try:
                rate = rate_of(ask.choice) * chance.lognormvariate(0, noise)
            except Failed as failed:
                ask = steps.throw(failed)
            else:
                ask = steps.send(rate)
    except StopIteration as end:
        return end.value, count


@pytest.mark.parametrize("seed", range(5))
def test_the_best_is_found_through_noise_and_confirmed(seed: int) -> None:
    found, _ = tuned(ALL, 0.03, seed)
    assert found.changes == {"engine_threads": 4, "max_num_seqs": 48}
    by_knob = {duel.knob: duel for duel in found.duels}
    for name, gain in (("engine_threads", 1.3), ("max_num_seqs", 1.2)):
        duel = by_knob[f"{VERIFY}: {name}"]
        assert duel.verdict == "won"
        assert duel.interval is not None
        assert duel.interval.low > 1
        assert duel.interval.ratio == pytest.approx(gain, rel=0.1)
        assert (duel.tried_median or 0) > (duel.base_median or 0)
    assert by_knob["chunked_prefill"].verdict == "failed"
    assert by_knob["chunked_prefill"].why == "no budget"


def test_chance_alone_writes_nothing_nearly_always() -> None:
    """Ten values that change nothing: without the second win one search in ten at least would end with one of them."""
    same = [Knob(name="max_num_seqs", table="group", now=0, values=list(range(1000, 1010)))]
    ended = [tuned(same, 0.1, seed)[0] for seed in range(200)]
    won = sum(any(duel.verdict == "won" for duel in one.duels) for one in ended)
    assert won >= 20
    assert sum(bool(one.changes) for one in ended) <= 4
    checked = [one for one in ended if one.duels[-1].knob.startswith(VERIFY)]
    assert all(bool(one.changes) == (one.duels[-1].verdict == "won") for one in checked)


def test_one_change_in_forty_wins_by_chance() -> None:
    """A 95 % interval, so that two wins of what does nothing come about once in 1,600."""
    chance, duels = random.Random(3), 4_000
    won = 0
    for _ in range(duels):
        base, tried = ([chance.lognormvariate(0, 0.1) for _ in range(6)] for _ in range(2))
        won += interval(base, tried).low > 1
    assert 1 / 55 <= won / duels <= 1 / 30


def test_a_slow_value_is_given_up_early_and_the_order_alternates() -> None:
    slow = [Knob(name="engine_threads", table="limits", now=0, values=[1])]
    steps = search(slow, 6)
    asked = [next(steps)]
    for _ in range(2 * EARLY - 1):
        asked.append(steps.send(rate_of(asked[-1].choice)))
    assert [ask.choice["engine_threads"] for ask in asked] == [0, 1, 1, 0]
    assert [ask.other["engine_threads"] for ask in asked] == [1, 0, 0, 1]
    found, count = tuned(slow, 0.0, 0)
    assert count == len(asked)
    assert [(duel.verdict, len(duel.tried)) for duel in found.duels] == [("given up", EARLY)]
    assert found.duels[0].interval is None, "of pairs that were chosen for what they show there is none"
    assert found.changes == {}


def test_nothing_to_search_is_nothing_found() -> None:
    assert tuned([], 0.0, 0) == (Tuned(changes={}, duels=[]), 0)


@given(st.lists(st.floats(1, 1000), min_size=3, max_size=12), st.floats(0.2, 5))
def test_the_interval_holds_the_ratio(base: list[float], factor: float) -> None:
    found = interval(base, [factor * one for one in base])
    assert found.low <= found.ratio * (1 + 1e-9)
    assert found.ratio <= found.high * (1 + 1e-9)
    assert found.ratio == pytest.approx(factor)


@settings(max_examples=50)
@given(st.integers(1, 128), st.integers(64, 65_536), st.integers(1, 500), st.booleans())
def test_knobs_hold_what_an_engine_can_use(cores: int, context: int, most: int, threads: bool) -> None:
    group = GroupSection(family="text", context_tokens_max=context, document_tokens_max=1, reply_tokens_max=1)
    found = {
        knob.name: knob for knob in knobs(group, LimitsSection(in_flight_documents=most), cores, 500, threads=threads)
    }
    assert tuple(found) == NAMES
    assert all(knob.now not in knob.values for knob in found.values())
    assert all(0 < int(value or 0) <= most for value in found["max_num_seqs"].values)
    assert all(0 < int(value or 0) <= cores for value in found["engine_threads"].values)
    assert bool(found["engine_threads"].values) == threads
    for knob in found.values():
        for value in knob.values:
            with_choice(simulated_project(0), "text", {knob.name: value})


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 200))
def test_sequences_that_are_tried_differ_with_so_many_documents(documents: int, most: int, now: int) -> None:
    group = GroupSection(family="text", max_num_seqs=now)
    found = knobs(group, LimitsSection(in_flight_documents=most), 2, documents, threads=False)
    (values,) = (knob.values for knob in found if knob.name == "max_num_seqs")
    at_once = [min(int(value or 0), most, documents) for value in [*values, now]]
    assert len(set(at_once)) == len(at_once)


def test_knobs_are_chosen_by_name() -> None:
    assert [knob.name for knob in chosen(ALL, ["prefix_caching", "engine_threads"])] == [
        "engine_threads",
        "prefix_caching",
    ]
    assert len(chosen(ALL, None)) == len(NAMES)
    with pytest.raises(UsageError, match="knob_unknown"):
        chosen(ALL, ["none"])


def test_a_choice_reaches_the_groups_settings() -> None:
    project = with_choice(simulated_project(0), "text", {"max_num_seqs": 7, "engine_threads": 3})
    assert project.settings.groups["text"].max_num_seqs == 7
    assert project.settings.groups["alpha"].max_num_seqs == GROUP.max_num_seqs
    assert project.settings.limits.engine_threads == 3


def test_comments_and_order_of_mira_toml_stay() -> None:
    changes: dict[str, Any] = {
        "max_num_seqs": 32, "engine_threads": 2, "max_num_batched_tokens": None, "prefix_caching": False,
    }  # fmt: skip
    after = with_settings(TOML, "text", changes)
    lines = after.splitlines()
    assert [line for line in lines if "#" in line] == [
        line.replace("64", "32") for line in TOML.splitlines() if "#" in line
    ]
    read = read_settings(after.encode(), Path("mira.toml"), {})
    group = read.groups["text"]
    assert (group.max_num_seqs, group.max_num_batched_tokens, group.prefix_caching) == (32, None, False)
    assert read.limits.engine_threads == 2
    assert read.limits.in_flight_documents == 96
    kept = [line for line in TOML.splitlines() if line and "max_num" not in line]
    assert [line for line in lines if line in kept] == kept
    assert lines.index("prefix_caching = false") < lines.index("[sources.a]")


def test_a_file_without_limits_gets_them() -> None:
    after = with_settings('[groups.text]\nfamily = "text"\n', "text", {"engine_threads": 1})
    assert tomlkit.parse(after).unwrap() == {"groups": {"text": {"family": "text"}}, "limits": {"engine_threads": 1}}
