"""What a record of the policy topic may say: nothing else comes into force, whoever wrote it."""

from typing import Any

import pytest

from mira_stream.errors import ConfigError
from mira_stream.messages import SLOTS, Mask, Policy, Prior, encode
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.sense import nonsense
from tests.unit.selecting_cards import GROUP, LINEAGE, mask, policy_record

POLICIES: list[tuple[str, dict[str, Any]]] = [
    ("retention 5", {"retention": 5.0}),
    ("retention -1", {"retention": -1.0}),
    ("band 9", {"band": 9.0}),
    ("band -0.2", {"band": -0.2}),
    ("horizon", {"horizon_documents": 0}),
    ("horizon", {"horizon_documents": -500}),
    ("horizon", {"horizon_documents": 10**22}),
    ("floor Z9", {"floors": {"Z9": 3.0}}),
    ("floor A1=11", {"floors": {"A1": 11.0}}),
    ("mask_add", {"mask_add": ["A16"]}),
    ("mask_add", {"mask_add": ["A1"], "mask_remove": ["A1"]}),
    ("skips", {"skips": [0]}),
]
MASKS: list[tuple[str, dict[str, Any]]] = [
    ("trim 0.5", {"trim": 0.5}),
    ("trim -0.1", {"trim": -0.1}),
    ("at least one", {"dimensions": [], "dimensions_min": 0}),
    ("at least one", {"dimensions": [], "dimensions_min": 1}),
    ("at least one", {"dimensions_min": 0}),
    ("2 dimensions, dimensions_min 3", {"dimensions": ["A1", "A2"]}),
    ("dimensions Z1", {"dimensions": ["Z1", "A1", "A2", "A3"]}),
    ("once", {"dimensions": ["A1", "A1", "A2"]}),
    ("means", {"means": [1e308] * 15}),
    ("means", {"means": [-1.0] * 15}),
    ("prior", {"prior": Prior(cells={"x": 1.0}, documents=1, tokens=0)}),
    ("prior", {"prior": Prior(cells={"1001": 1.0}, documents=1, tokens=0)}),
    ("prior", {"prior": Prior(cells={"7": -1.0}, documents=1, tokens=0)}),
    ("prior", {"prior": Prior(cells={"7": 1e308, "8": 1e308}, documents=1, tokens=0)}),
]


@pytest.mark.parametrize(("said", "asked"), POLICIES)
def test_a_policy_out_of_range_is_refused_with_its_place_and_the_way_out(said: str, asked: dict[str, Any]) -> None:
    refuse(policy_record(7, Policy(**asked), "source:books"), said)


@pytest.mark.parametrize(("said", "changed"), MASKS)
def test_a_mask_that_means_nothing_is_refused(said: str, changed: dict[str, Any]) -> None:
    refuse(policy_record(7, mask(**changed)), said)


@pytest.mark.parametrize("key", ["", "books", "source:", "team:a", "group"])
def test_a_policy_stands_under_a_key_that_names_something(key: str) -> None:
    refuse(policy_record(7, Policy(retention=0.5), key), "key")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("source:other", mask()),
        ("*", mask()),
        (f"group:{GROUP}", mask()),
        ("source:books", mask(source="*")),
        ("group:qa", mask(source="*")),
    ],
)
def test_a_mask_stands_under_the_key_of_the_source_it_names(key: str, message: Mask) -> None:
    refuse(policy_record(7, message, key), "is not that of source")


def test_a_key_that_is_no_text_and_a_group_that_cannot_be_are_refused() -> None:
    assert nonsense(b"\xff", Policy(), "group") == "its key is no text"
    odd = Mask(mask="m", group="No Group", source="s", lineage="l", dimensions=list(SLOTS), means=[5.0] * 15, trim=0.1)
    assert "No Group" in (nonsense(b"source:s", odd, "group") or "")


@pytest.mark.parametrize("edge", [Policy(), Policy(retention=0.0, band=1.0, horizon_documents=1, floors={"A15": 10.0})])
def test_what_the_files_may_say_may_be_published(edge: Policy) -> None:
    assert nonsense(b"*", edge, "group") is None
    assert nonsense(b"group:text", edge, "group") is None
    assert nonsense(b"source:books", mask(trim=0.0, dimensions=["A2"], dimensions_min=1), "group") is None
    assert nonsense(b"group:text", mask(source="*"), "group") is None


def test_everybodys_threshold_needs_one_partition_for_all_cards() -> None:
    record = policy_record(7, Policy(threshold_scope="global"))
    PolicyLog("all").add(record)
    with pytest.raises(ConfigError, match=r"@7: threshold_scope global, but scores_key = 'group'"):
        PolicyLog("group").add(record)


def test_what_a_later_record_passes_over_is_no_version_and_says_nothing() -> None:
    log = PolicyLog()
    records = [
        policy_record(0, Policy(retention=0.4)),
        policy_record(1, mask()),
        Record("mira.policy", 0, 2, 0, b"*", b"garbage"),
        policy_record(3, Policy(retention=7.0)),
        policy_record(4, Policy(skips=[2, 3]), "skip"),
    ]
    with pytest.raises(ConfigError, match=r"mira\.policy/0@2"):
        PolicyLog().extend(records[:4])
    log.extend(records)
    found = log.rules(GROUP, "books", LINEAGE)
    assert found is not None
    assert (found.target, found.version) == (0.4, 1)
    assert [log.has(version) for version in range(5)] == [True, True, False, False, True]
    assert (log.keys, log.version, log.next_offset) == (["*"], 4, 5)


def test_what_can_be_put_in_force_is_never_passed_over_and_nothing_in_advance() -> None:
    log = PolicyLog()
    log.extend([policy_record(0, Policy(retention=0.4)), policy_record(1, Policy(skips=[0, 2]), "skip")])
    assert log.newest_policy("*") == Policy(retention=0.4)
    with pytest.raises(ConfigError, match=r"mira\.policy/0@2"):
        log.extend([Record("mira.policy", 0, 2, 0, b"*", b"garbage")])


def test_a_record_as_of_old_says_the_same_bytes() -> None:
    assert encode(Policy(retention=0.4)) == b'{"schema":"policy.v1","retention":0.4}'


def refuse(record: Record, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        PolicyLog().add(record)
    assert refusal.value.code == "policy_invalid"
    assert "mira.policy/0@7: " in refusal.value.cause
    assert said in refusal.value.cause
    assert "mira-stream policy skip 7" in refusal.value.fix
