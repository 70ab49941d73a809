"""The anchor-name rule: the names of Agent-Group4 come out, all are unique, order does not matter."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.rubric.naming import NamedCluster, cluster_names

PLAN = "Plan Quality / Reasoning Transparency"
# Made-up counts in clusters of the sizes that MIRA.md lists for Agent-Group4.
AGENT_GROUP4 = [
    ("Plan Quality / Reasoning Transparency (Goal Achievement)", PLAN, 59_467,
     {PLAN: 17_000, "Goal Achievement": 16_000}),
    ("Output Style/Communication", "Output Style/Communication", 41_355, {"Output Style/Communication": 28_000}),
    ("Goal Achievement", "Goal Achievement", 38_129, {"Goal Achievement": 21_000, "Task Completion": 9_000}),
    (PLAN, PLAN, 36_330, {PLAN: 25_000, "Goal Achievement": 1_500}),
    ("Test Coverage & Verification Rigor", "Test Coverage & Verification Rigor", 29_347,
     {"Test Coverage & Verification Rigor": 20_000}),
    ("Multi-turn Coherence", "Multi-turn Coherence", 29_127, {"Multi-turn Coherence": 22_000}),
    ("Error Recovery", "Error Recovery", 28_843, {"Error Recovery": 23_000}),
    ("Tool Argument Correctness", "Tool Argument Correctness", 28_122, {"Tool Argument Correctness": 24_000}),
    ("Action Efficiency", "Action Efficiency", 27_440, {"Action Efficiency": 23_500}),
    ("User Intent Comprehension", "User Intent Comprehension", 24_691, {"User Intent Comprehension": 21_000}),
    ("Safety & scope", "Safety & scope", 24_339, {"Safety & scope": 11_000, "Safety & Scope": 9_000}),
    ("Observation handling", "Observation handling", 23_739, {"Observation handling": 14_000}),
    ("Code Change Minimality", "Code Change Minimality", 20_203, {"Code Change Minimality": 17_000}),
    ("Tool Selection", "Tool Selection", 17_000, {"Tool Selection": 14_000, "Safety & Scope": 900}),
    ("Tool Selection (Safety & Scope)", "Tool Selection", 16_168, {"Tool Selection": 6_000, "Safety & Scope": 5_500}),
]  # fmt: skip


def cluster(medoid: str, size: int, named: dict[str, int]) -> NamedCluster:
    """Filled up to its size with rare names."""
    rest = size - sum(named.values())
    rare = {f"{medoid}, {number}": rest // 20 for number in range(20)}
    rare[f"{medoid}, 0"] += rest - sum(rare.values())
    return NamedCluster(medoid, named | rare)


def test_the_fifteen_names_of_agent_group4() -> None:
    clusters = [cluster(medoid, size, named) for _, medoid, size, named in AGENT_GROUP4]
    assert [one.size for one in clusters] == [size for _, _, size, _ in AGENT_GROUP4]
    assert cluster_names(clusters) == [name for name, *_ in AGENT_GROUP4]
    assert cluster_names(clusters[::-1]) == [name for name, *_ in AGENT_GROUP4][::-1]


def test_the_two_safety_names_are_two_names() -> None:
    names = cluster_names([cluster(medoid, size, named) for _, medoid, size, named in AGENT_GROUP4])
    assert names[10] == "Safety & scope"
    assert names[14].endswith("(Safety & Scope)")
    both = [
        NamedCluster("Safety & scope", {"Safety & scope": 3}),
        NamedCluster("Safety & Scope", {"Safety & Scope": 2}),
    ]
    assert cluster_names(both) == ["Safety & scope", "Safety & Scope"]


def test_more_records_of_a_name_keep_it_not_the_larger_cluster() -> None:
    large = NamedCluster("Clarity", {"Clarity": 10, "Prose": 90})
    small = NamedCluster("Clarity", {"Clarity": 11, "Order": 2})
    assert cluster_names([large, small]) == ["Clarity (Prose)", "Clarity"]


def test_mode_is_the_most_frequent_name() -> None:
    one = NamedCluster("Depth", {"Depth": 1, "Substance": 5})
    assert cluster_names([one]) == ["Depth"]
    assert cluster_names([one], "mode") == ["Substance"]


def test_a_sublabel_that_is_taken_gives_way_to_the_next_and_then_to_a_number() -> None:
    keeper = NamedCluster("A", {"A": 9})
    named_so = NamedCluster("A (B)", {"A (B)": 1})
    loser = NamedCluster("A", {"A": 5, "B": 4, "C": 3})
    bare = NamedCluster("A", {"A": 4})
    assert cluster_names([keeper, named_so, loser, bare]) == ["A", "A (B)", "A (C)", "A (2)"]


def test_a_cluster_without_its_medoid_is_refused() -> None:
    with pytest.raises(ValueError, match="medoid"):
        cluster_names([NamedCluster("A", {"B": 1})])


NAMES = st.sampled_from(["A", "B", "C", "a", "A (B)", "A (2)", "B (A)"])
TABLES = st.dictionaries(NAMES, st.integers(1, 5), min_size=1, max_size=5)
CLUSTERS = st.lists(
    TABLES.flatmap(lambda names: st.sampled_from(sorted(names)).map(lambda medoid: NamedCluster(medoid, names))),
    min_size=1,
    max_size=15,
)


@given(CLUSTERS, st.sampled_from(["medoid", "mode"]), st.randoms())
def test_names_are_unique_whatever_the_order(clusters: list[NamedCluster], rule: str, chance: object) -> None:
    names = cluster_names(clusters, rule)  # type: ignore[arg-type]
    assert len(set(names)) == len(clusters)
    order = list(range(len(clusters)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    again = cluster_names([clusters[index] for index in order], rule)  # type: ignore[arg-type]
    assert named(clusters, names) == named([clusters[index] for index in order], again)


def named(clusters: list[NamedCluster], names: list[str]) -> Counter[tuple[str, str]]:
    """Which clusters got which names; clusters with equal tables stand for one another."""
    return Counter(
        (repr((one.medoid, sorted(one.names.items()))), name) for one, name in zip(clusters, names, strict=True)
    )
