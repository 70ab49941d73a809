"""What the policy topic says, now and at earlier versions."""

import pytest

from mira_stream.errors import ConfigError
from mira_stream.messages import Policy
from mira_stream.records import Record
from mira_stream.selecting.policies import PolicyLog
from tests.unit.selecting_cards import GROUP, LINEAGE, mask, policy_log, policy_record


def test_source_wins_over_group_over_all_field_by_field() -> None:
    log = PolicyLog()
    log.add(policy_record(0, Policy(retention=0.5, band=0.2, unit="tokens"), "*"))
    log.add(policy_record(1, Policy(retention=0.4, horizon_documents=100), f"group:{GROUP}"))
    log.add(policy_record(2, Policy(retention=0.3, floors={"A1": 2.0}), "source:books"))
    log.add(policy_record(3, Policy(retention=0.9), "source:other"))
    log.add(policy_record(4, mask()))
    found = log.rules(GROUP, "books", LINEAGE)
    assert found is not None
    assert (found.target, found.band, found.unit, found.horizon) == (0.3, 0.2, "tokens", 100)
    assert found.floors == {"A1": 2.0}
    assert found.version == 4


def test_a_zero_is_a_value_and_not_absent() -> None:
    log = PolicyLog()
    log.add(policy_record(0, Policy(retention=0.5, band=0.2), "*"))
    log.add(policy_record(1, Policy(retention=0.0, band=0.0), "source:books"))
    log.add(policy_record(2, mask()))
    found = log.rules(GROUP, "books", LINEAGE)
    assert found is not None
    assert (found.target, found.band) == (0.0, 0.0)


def test_what_nobody_asked_for_is_as_in_a_project_file_that_says_nothing() -> None:
    found = policy_log(mask()).rules(GROUP, "books", LINEAGE)
    assert found is not None
    assert (found.target, found.band, found.unit, found.horizon) == (0.5, 0.1, "documents", 500)


def test_rules_as_they_were_at_an_earlier_version() -> None:
    log = policy_log(Policy(retention=0.5), mask("m1"), Policy(retention=0.2), mask("m2"))
    versions = [log.rules(GROUP, "books", LINEAGE, at) for at in range(4)]
    assert versions[0] is None
    assert [(r.version, r.target, r.mask.mask) for r in versions if r] == [
        (1, 0.5, "m1"),
        (2, 0.2, "m1"),
        (3, 0.2, "m2"),
    ]


def test_another_sources_policy_is_no_new_version() -> None:
    log = policy_log(mask(), mask(source="other"))
    log.add(policy_record(2, Policy(retention=0.1), "source:other"))
    found = log.rules(GROUP, "books", LINEAGE)
    assert found is not None
    assert found.version == 0


def test_a_groups_mask_stands_in_for_a_source_without_its_own() -> None:
    log = policy_log(mask("own"), mask("group", source="*"))
    assert [log.rules(GROUP, s, LINEAGE).mask.mask for s in ("books", "new")] == ["own", "group"]  # type: ignore[union-attr]


def test_a_mask_is_for_its_group_and_lineage_only() -> None:
    log = policy_log(mask())
    assert log.rules("qa", "books", LINEAGE) is None
    assert log.rules(GROUP, "books", "another-one") is None
    assert log.knows(GROUP, "books")
    assert not log.knows(GROUP, "unheard-of")


@pytest.mark.parametrize("asked", [Policy(mode="head")])
def test_a_wish_that_cannot_be_met_is_refused_by_name(asked: Policy) -> None:
    with pytest.raises(ConfigError) as refusal:
        policy_log(asked)
    assert refusal.value.code == "policy_unsupported"
    assert "mira.policy/0@0" in refusal.value.cause


@pytest.mark.parametrize("value", [b"", b"{", b'{"schema":"epoch.v1"}'])
def test_a_broken_record_is_refused_with_its_place(value: bytes) -> None:
    with pytest.raises(ConfigError, match=r"mira\.policy/0@7"):
        PolicyLog().add(Record("mira.policy", 0, 7, 0, b"*", value))
