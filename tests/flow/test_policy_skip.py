"""A record of `mira.policy` that cannot be put in force: who stops, what is said, and the way on."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from mira_stream.audit.run import audit
from mira_stream.cli.policy_history import read_history
from mira_stream.errors import ConfigError, UsageError
from mira_stream.messages import Mask, Policy, encode
from mira_stream.records import Record
from mira_stream.selecting.policies import read_policy
from mira_stream.selecting.publish import commit_policy
from mira_stream.selecting.skipping import skip
from producers.files import produce
from tests.flow.pipeline import Pipeline, text_row, write_rows
from tests.flow.test_policy_commands import Command, command, more_notes, run_pipeline, set_policy

__all__ = ["command"]

GLOBAL = encode(Policy(threshold_scope="global"))


@pytest.fixture
async def pipeline(tmp_path: Path) -> Pipeline:
    return await run_pipeline(tmp_path)


async def stopped_by(pipeline: Pipeline, key: bytes, value: bytes) -> int:
    """The offset of a record that stops the aggregator before the next card; no decision was made under it."""
    offset = pipeline.broker.append("mira.policy", key, value, 0).offset
    write_rows(pipeline.project.path("notes.jsonl"), [text_row(number) for number in range(60)])
    await produce(pipeline.broker, pipeline.project, {"notes": pipeline.project.settings.sources["notes"]})
    with pytest.raises(ConfigError) as refusal:
        await pipeline.until(lambda: pipeline.count("decisions") == 100)
    assert (refusal.value.code, pipeline.count("decisions")) == ("policy_invalid", 80)
    assert f"mira.policy/0@{offset}" in refusal.value.cause
    return offset


async def newest_mask(pipeline: Pipeline) -> Mask:
    _, log = await commit_policy(pipeline.broker, pipeline.project, lambda log: [])
    return next(mask for mask in log.masks() if mask.source == "notes")


@pytest.mark.parametrize("value", [b"garbage", GLOBAL, {"trim": 0.7}, {"means": [1e308] * 15}])
async def test_it_stops_the_aggregator_and_once_skipped_all_go_on_and_the_audit_agrees(
    pipeline: Pipeline, value: Any
) -> None:
    if isinstance(value, dict):
        value = encode(replace(await newest_mask(pipeline), **value))
    offset = await stopped_by(pipeline, b"source:notes", value)
    with pytest.raises(ConfigError, match=f"@{offset}"):
        await set_policy(pipeline, "source:notes", Policy(retention=1.0))
    with pytest.raises(ConfigError, match=f"@{offset}"):
        await audit(pipeline.project, pipeline.broker, pipeline.out, patience_s=0.1)

    assert await skip(pipeline.broker, pipeline.project, offset, "somebody's script") is None
    pipeline.start("aggregate")
    await pipeline.until(lambda: pipeline.count("decisions") == 100)
    version = (await set_policy(pipeline, "source:notes", Policy(retention=1.0))).version
    assert {decision.policy for decision in await more_notes(pipeline, 60)} == {version}
    await pipeline.shut_down()
    found = await audit(pipeline.project, pipeline.broker, pipeline.out, patience_s=0.1)
    assert (found.ok, found.lost, found.doubled, found.findings_by_code) == (True, 0, 0, {})

    by_version = {one["version"]: one for one in await read_history(pipeline.project, pipeline.broker)}
    assert (by_version[offset]["kind"], by_version[offset]["changed"]) == ("skipped", {})
    told = next(one for one in by_version.values() if one["key"] == "skip")
    assert (told["note"], told["changed"]) == ("somebody's script", {"skips": [None, [offset]]})


async def test_a_mask_that_was_in_force_before_it_was_refused_is_skipped_with_states_under_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later version may refuse what an earlier one put in force."""
    before = await newest_mask(pipeline)
    record = pipeline.broker.append("mira.policy", b"source:notes", encode(replace(before, mask="0" * 16, trim=0.2)), 0)
    assert {decision.mask for decision in await more_notes(pipeline, 40)} == {"0" * 16}
    await pipeline.shut_down()

    def refuses(found: Record, scores_key: str) -> Policy | Mask:
        if found.offset == record.offset:
            raise ConfigError("policy_invalid", f"mira.policy/0@{found.offset}: trim", "policy skip")
        return read_policy(found, scores_key)

    for name in ("policies", "skipping"):
        monkeypatch.setattr(f"mira_stream.selecting.{name}.read_policy", refuses)
    assert await skip(pipeline.broker, pipeline.project, record.offset, "its trim") is None
    pipeline.stop = asyncio.Event()
    for name in ("score", "aggregate", "export"):
        pipeline.start(name)
    decided = await more_notes(pipeline, 60)
    assert {decision.mask for decision in decided} == {before.mask}
    assert len({decision.id for decision in pipeline.decisions()}) == len(pipeline.decisions()) == 120
    await pipeline.kill("aggregate")
    pipeline.start("aggregate")
    again = await more_notes(pipeline, 80)
    assert {decision.mask for decision in again} == {before.mask}
    await pipeline.shut_down()


async def test_only_what_cannot_be_put_in_force_is_skipped_and_what_is_left_is_said(pipeline: Pipeline) -> None:
    for offset, code in ((0, "policy_valid"), (4_711, "offset_unknown")):
        with pytest.raises(UsageError) as refusal:
            await skip(pipeline.broker, pipeline.project, offset, "")
        assert refusal.value.code == code
    first, second = (pipeline.broker.append("mira.policy", b"*", b"{", 0).offset for _ in range(2))
    left = await skip(pipeline.broker, pipeline.project, first, "")
    assert left is not None
    assert f"@{second}" in left.cause
    with pytest.raises(UsageError, match="already"):
        await skip(pipeline.broker, pipeline.project, first, "")
    assert await skip(pipeline.broker, pipeline.project, second, "") is None
    await pipeline.shut_down()


def test_the_commands_name_the_record_and_lead_past_it(command: Command) -> None:
    offset = command.broker.append("mira.policy", b"\x1b[2J\xff", b"garbage", 0).offset
    assert command("policy", "show")[0] == 3
    code, found = command("policy", "history")
    assert (code, found["versions"][-1]["kind"]) == (0, "invalid")
    assert f"mira.policy/0@{offset}" in found["versions"][-1]["note"]
    assert command("policy", "skip", str(offset), "--note", "a script's")[1] == {"skipped": offset, "still": None}
    assert command("policy", "show")[0] == 0
    assert command("policy", "skip", str(offset))[0] == 2
    assert command("prepare")[0] == 0
    assert command("policy", "apply")[0] == 0


async def test_nothing_is_written_that_could_not_be_put_in_force(pipeline: Pipeline) -> None:
    before = len(pipeline.broker.records("mira.policy"))
    with pytest.raises(ConfigError, match="horizon"):
        await commit_policy(pipeline.broker, pipeline.project, lambda log: [("*", Policy(horizon_documents=10**22))])
    assert len(pipeline.broker.records("mira.policy")) == before
    await pipeline.shut_down()
