"""Guards taken out, one at a time: the test that names what each is for must fail. Those of test_traps.py that need no
broker, and the runner's own. What the whole stream's guards are for `tests/simulation/mutants.py` shows."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from inspect import unwrap
from typing import Any, Final, NamedTuple

import pytest

from mira_stream.kafka.consumer import KafkaConsumer
from mira_stream.kafka.producer import KafkaProducer
from mira_stream.records import Record
from mira_stream.streaming import owner
from mira_stream.streaming.lane import Lane
from mira_stream.streaming.owner import Owner
from mira_stream.streaming.ports import always
from mira_stream.streaming.progress import place_for
from mira_stream.streaming.runner import Runner
from mira_stream.streaming.stage_watch import StageWatch
from mira_stream.streaming.starting import Ids, Start, find_start
from mira_stream.testing.loop import VirtualLoop
from tests.flow import test_runner, test_starting, test_traps
from tests.flow.test_runner import no_pauses
from tests.unit import test_kafka_consumer, test_kafka_producer, test_offset_fetch

__all__ = ["no_pauses"]
Patch = pytest.MonkeyPatch
FAILURES: Final = (AssertionError, KeyError, TimeoutError, pytest.fail.Exception)


class Guard(NamedTuple):
    """`out` takes it out; then `test` must fail."""

    name: str
    test: Callable[[Patch], Awaitable[None]]
    out: Callable[[Patch], None]


# -- the tests, as pytest would call them --


@asynccontextmanager
async def consuming() -> Any:
    client = test_kafka_consumer.Client()
    consumer = KafkaConsumer(client, test_kafka_consumer.Silent(), 1.0)
    await consumer.assigned([test_kafka_consumer.A, test_kafka_consumer.B])
    try:
        yield client, consumer
    finally:
        await consumer.close()


async def a_cancelled_poll(patch: Patch) -> None:
    async with consuming() as (client, consumer):
        await test_kafka_consumer.test_a_cancelled_poll_leaves_its_fetch_to_the_next(client, consumer)


async def a_closed_partition(patch: Patch) -> None:
    async with consuming() as (client, consumer):
        await test_kafka_consumer.test_records_of_a_closed_partition_are_dropped(client, consumer)


async def a_step_that_stands_still(patch: Patch) -> None:
    await unwrap(test_kafka_producer.test_no_step_is_waited_for_for_ever)("deliver")


async def a_coordinator_that_moved(patch: Patch) -> None:
    await test_offset_fetch.test_another_coordinator_is_looked_for()


async def an_old_owner_that_commits(patch: Patch) -> None:
    await test_traps.test_the_offset_is_asked_for_after_the_old_owner_is_fenced()


async def a_deleted_topic(patch: Patch) -> None:
    await test_traps.test_a_topic_that_is_deleted_stops_the_stage(patch)


async def a_topic_made_anew(patch: Patch) -> None:
    await test_starting.test_a_topic_made_anew_under_a_running_stage_is_noticed(patch)


async def a_topic_made_anew_unseen(patch: Patch) -> None:
    await test_starting.test_what_is_read_of_a_topic_made_anew_before_anybody_notices_is_done_once(patch)


async def a_partition_that_came_back(patch: Patch) -> None:
    await test_runner.test_nothing_of_a_partition_that_came_back_is_begun_before_its_owner_has_looked_at_the_offset()


# -- the guards, out --


def fetches_are_cancelled(patch: Patch) -> None:
    polls = KafkaConsumer.poll

    async def poll(consumer: KafkaConsumer, records_max: int, timeout_s: float, more: Any = always) -> list[Record]:
        try:
            return await polls(consumer, records_max, timeout_s, more)
        except asyncio.CancelledError:
            fetch, consumer._fetch = consumer._fetch, None
            if fetch is not None:
                fetch.cancel()
            raise

    patch.setattr(KafkaConsumer, "poll", poll)


def gates_are_open(patch: Patch) -> None:
    absorbs = KafkaConsumer._absorb

    def absorb(consumer: KafkaConsumer) -> None:
        opened, consumer._opened = consumer._opened, {test_kafka_consumer.A, test_kafka_consumer.B}
        absorbs(consumer)
        consumer._opened = opened

    patch.setattr(KafkaConsumer, "_absorb", absorb)


def steps_have_no_bound(patch: Patch) -> None:
    begins = KafkaProducer.__init__

    def begin(producer: KafkaProducer, *arguments: Any) -> None:
        begins(producer, *arguments)
        producer._timeout_s = 1e9

    patch.setattr(KafkaProducer, "__init__", begin)


def an_answer_for_the_whole_group_is_not_looked_at(patch: Patch) -> None:
    patch.setattr(test_offset_fetch, "checked", lambda send, moved: send)


def the_offset_is_asked_for_before(patch: Patch) -> None:
    opens = Owner._open

    async def open_late(one: Owner) -> Lane:
        await one._lanes.until_assigned(one._partition)
        place = await place_for(one._reader, one._settings.progress, one._partition)
        start = await find_start(one._partition, one._lanes.consumer, one._reader, one._settings, place, Ids(""))

        async def found_before(*_: object) -> Start:
            return start

        with pytest.MonkeyPatch.context() as stale:
            stale.setattr(owner, "find_start", found_before)
            return await opens(one)

    patch.setattr(Owner, "_open", open_late)


def nobody_looks(patch: Patch) -> None:
    async def go_on(watch: StageWatch) -> None:
        await asyncio.Event().wait()

    patch.setattr(StageWatch, "go_on", go_on)


def ids_are_not_compared(patch: Patch) -> None:
    async def compare(watch: StageWatch, lanes: object) -> None: ...

    patch.setattr(StageWatch, "_compare_ids", compare)


def commits_ask_for_no_id(patch: Patch) -> None:
    async def check(owner: Owner, lane: Lane) -> None: ...

    patch.setattr(Owner, "_check_topic", check)


def a_look_ends_when_it_begins(patch: Patch) -> None:
    looks = Owner._look_at_offset

    async def look(one: Owner, lane: Lane) -> None:
        lane.looked = lane.doubts
        await looks(one, lane)

    patch.setattr(Owner, "_look_at_offset", look)


def what_is_doubted_is_opened(patch: Patch) -> None:
    opens = Runner._open_ready_lanes

    def open_all(runner: Runner) -> None:
        looked = {lane: lane.looked for lane in runner.lanes}
        for lane in looked:
            lane.looked = lane.doubts
        opens(runner)
        for lane, times in looked.items():
            lane.looked = times

    patch.setattr(Runner, "_open_ready_lanes", open_all)


GUARDS: Final = [
    Guard("a fetch is never cancelled", a_cancelled_poll, fetches_are_cancelled),
    Guard("a partition is closed until its seek", a_closed_partition, gates_are_open),
    Guard("every step of a transaction is bounded", a_step_that_stands_still, steps_have_no_bound),
    Guard("an error of a whole answer", a_coordinator_that_moved, an_answer_for_the_whole_group_is_not_looked_at),
    Guard("fence first, then ask", an_old_owner_that_commits, the_offset_is_asked_for_before),
    Guard("topics are looked at", a_deleted_topic, nobody_looks),
    Guard("ids of topics are compared", a_topic_made_anew, ids_are_not_compared),
    Guard("the id of the topic is asked for before each commit", a_topic_made_anew_unseen, commits_ask_for_no_id),
    Guard("what is doubted is not opened", a_partition_that_came_back, what_is_doubted_is_opened),
    Guard("doubted until the look has ended", a_partition_that_came_back, a_look_ends_when_it_begins),
]


async def alone(test: Awaitable[None]) -> None:
    """The test, and an end to what a failure leaves running."""
    try:
        async with asyncio.timeout(60):
            await test
    finally:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def run(test: Callable[[Patch], Awaitable[None]], out: Callable[[Patch], None] | None) -> BaseException | None:
    """What the test fails with, in virtual time: one that waits for ever ends by its own timeout."""
    virtual = VirtualLoop(random.Random(1))
    with pytest.MonkeyPatch.context() as patch:
        if out is not None:
            out(patch)
        try:
            virtual.run_until_complete(alone(test(patch)))
        except FAILURES as failure:
            return failure
        finally:
            virtual.close()
    return None


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_without_its_guard_the_test_fails(guard: Guard) -> None:
    assert run(guard.test, None) is None
    assert run(guard.test, guard.out) is not None
