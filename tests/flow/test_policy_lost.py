"""A policy topic that is not the one that was read: nobody goes on by it."""

from pathlib import Path

import pytest

from mira_stream.audit.run import audit
from mira_stream.cli.policy_history import read_history
from mira_stream.errors import DataLossError, MiraError
from mira_stream.messages import Policy
from mira_stream.parquet import read_columns
from mira_stream.records import Record, TopicPartition
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.following import LOOKS_MAX, PolicyFollower
from mira_stream.selecting.publish import publish
from mira_stream.streaming.topics import topic_specs
from producers.files import produce
from tests.flow.pipeline import Pipeline, text_row, write_rows
from tests.flow.test_policy_commands import more_notes, run_pipeline, set_policy

POLICY = TopicPartition("mira.policy", 0)


@pytest.fixture
async def pipeline(tmp_path: Path) -> Pipeline:
    return await run_pipeline(tmp_path)


async def refused(pipeline: Pipeline, first: int, count: int = 20) -> MiraError:
    """What the aggregator ends with when so many more notes come."""
    before = pipeline.count("decisions")
    write_rows(pipeline.project.path("notes.jsonl"), [text_row(number) for number in range(first + count)])
    await produce(pipeline.broker, pipeline.project, {"notes": pipeline.project.settings.sources["notes"]})
    with pytest.raises(MiraError) as refusal:
        await pipeline.until(lambda: pipeline.count("decisions") == before + count)
    assert pipeline.count("decisions") == before
    return refusal.value


async def make_anew(pipeline: Pipeline) -> None:
    pipeline.broker.delete_topic(POLICY.topic)
    await pipeline.broker.create_topics(topic_specs(pipeline.project), 1)
    await publish(pipeline.broker, pipeline.project, lineage, read_columns)


def policies(pipeline: Pipeline) -> list[Record]:
    return list(pipeline.broker.records(POLICY.topic))


@pytest.mark.parametrize("more", [0, 20])
async def test_a_policy_topic_made_anew_stops_the_aggregator_however_long_it_is(
    pipeline: Pipeline,
    more: int,
) -> None:
    await set_policy(pipeline, "source:notes", Policy(retention=0.9))
    await more_notes(pipeline, 40)
    await make_anew(pipeline)
    for number in range(more):
        await set_policy(pipeline, "source:notes", Policy(retention=number / 100))
    stopped = await refused(pipeline, 60)
    assert (stopped.code, type(stopped)) == ("policy_lost", DataLossError)
    await pipeline.kill("aggregate")
    pipeline.start("aggregate")
    with pytest.raises(DataLossError, match="policy"):
        await pipeline.until(lambda: pipeline.count("decisions") == 120)
    assert pipeline.count("decisions") == 100


async def test_a_topic_made_anew_that_is_just_as_long_is_found_too(pipeline: Pipeline) -> None:
    follower = PolicyFollower(POLICY.topic, await pipeline.broker.reader())
    await follower.start()
    await make_anew(pipeline)
    for _ in range(LOOKS_MAX - 1):
        await follower.refresh()
    with pytest.raises(DataLossError, match="another record at"):
        await follower.refresh()


async def test_states_of_a_version_that_is_no_border_in_this_log_are_refused(pipeline: Pipeline) -> None:
    await set_policy(pipeline, "source:notes", Policy(retention=0.9))
    await more_notes(pipeline, 40)
    await pipeline.kill("aggregate")
    await make_anew(pipeline)
    for number in range(4):  # longer than the old one, and at the place of the old record is another source's
        await set_policy(pipeline, "source:questions", Policy(retention=number / 10))
    pipeline.start("aggregate")
    stopped = await refused(pipeline, 60)
    assert stopped.code == "policy_lost"


async def test_a_policy_topic_without_its_head_is_refused_by_all_who_read_it(
    pipeline: Pipeline,
) -> None:
    masks = [record for record in policies(pipeline) if b"mask.v1" in (record.value or b"")]
    await set_policy(pipeline, "source:notes", Policy(retention=0.05))
    for mask in masks:
        pipeline.broker.append(POLICY.topic, mask.key, mask.value or b"", 0)
    pipeline.broker.delete_before(POLICY, masks[-1].offset + 2)
    reader = await pipeline.broker.reader()
    for attempt in (
        lambda: PolicyFollower(POLICY.topic, reader).start(),
        lambda: set_policy(pipeline, "source:notes", Policy(band=0.0)),
        lambda: publish(pipeline.broker, pipeline.project, lineage, read_columns),
        lambda: read_history(pipeline.project, pipeline.broker),
        lambda: audit(pipeline.project, pipeline.broker, pipeline.out, patience_s=0.1),
    ):
        with pytest.raises(DataLossError, match="begins at") as refusal:
            await attempt()
        assert refusal.value.code == "policy_lost"
    stopped = await refused(pipeline, 40)
    assert stopped.code == "policy_lost"
    await pipeline.kill("aggregate")
    pipeline.start("aggregate")
    with pytest.raises(DataLossError, match="begins at"):
        await pipeline.until(lambda: pipeline.count("decisions") == 100)
