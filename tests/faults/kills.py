"""Faults of the service processes: killed in mid transaction, frozen, joining and leaving, told to stop."""

import asyncio
import signal
import time
from collections.abc import Mapping
from typing import Final

from tests.faults import failpoints
from tests.faults.endpoint import Endpoint, serving
from tests.faults.engines import EngineSettings
from tests.faults.lab import Lab
from tests.faults.services import PATIENCE_S, descendants, is_alive, until
from tests.faults.stream import Stream, Timeouts
from tests.faults.witness import bounds, read_all

RESTART_S: Final = 3.0
POLL_S: Final = 0.2
CALM_S: Final = 8.0
STORM_S: Final = 45.0
ISOLATION: Final = ("read_uncommitted", "read_committed")


async def killed_in_a_transaction(lab: Lab) -> None:
    """F01: SIGKILL after send, before offsets; before EndTxn; after EndTxn was sent: scorer, then aggregator.

    The one reborn has the name of the one killed, as under the Helm chart and `up`: it need not wait for a session.
    """
    stream = await lab.stream()
    engine = EngineSettings(delay_s=0.05)
    for victim, other in (("score", "aggregate"), ("aggregate", "score")):
        beside = stream.start(other, engine=engine)
        for place in failpoints.PLACES:
            await stream.feed(600)  # a victim ends within 160 of them: enough stay for the one reborn
            point = {failpoints.VARIABLE: f"{place}:{lab.chance.randint(1, 4)}:KILL"}
            doomed = stream.start(victim, "--instance", "lasting", engine=engine, environment=point)
            code = await doomed.wait(PATIENCE_S)
            lab.require(code == -signal.SIGKILL, f"{victim} at {place} ended with {code}: {doomed.last_words()}")
            before, started = len(stream.witness.seen), time.monotonic()
            reborn = stream.start(victim, "--instance", "lasting", engine=engine)
            seen = await stream.until_seen(before + 1, 60.0)
            lab.require(seen, f"no decision after {victim} was killed at {place}: {reborn.last_words()}")
            lab.gap(stream.witness.first_after(started) or 60.0, RESTART_S, f"first decision after {victim} at {place}")
            await reborn.kill()
        await beside.stop()
    stream.start("score", engine=EngineSettings(delay_s=0.0))
    stream.start("aggregate")
    await lab.finish(stream)


async def frozen_and_replaced(lab: Lab) -> None:
    """F03: a scorer is frozen in mid transaction for three sessions; another takes over; the first wakes up."""
    stream = await lab.stream(timeouts=Timeouts(request_ms=30_000))
    await stream.feed(1500)
    engine = EngineSettings(delay_s=0.1)
    stream.start("aggregate")
    point = {failpoints.VARIABLE: f"before_end:{lab.chance.randint(2, 5)}:STOP"}
    zombie = stream.start("score", engine=engine, environment=point)
    lab.require(await zombie.wait_stopped(PATIENCE_S), f"the scorer never froze: {zombie.last_words()}")
    frozen = time.monotonic()
    topic = {stream.project.topic("scores"): stream.project.settings.topics.partitions}
    there = await bounds(stream.kafka.servers, topic, "read_uncommitted")
    heir = stream.start("score", engine=engine)
    await asyncio.sleep(3 * stream.project.settings.broker.session_timeout_ms / 1000)
    lab.require(await _can_be_read(stream, topic, there), f"nobody ended its transaction: {heir.last_words()}")
    lab.gap(stream.witness.gap_s(frozen, time.monotonic()), 15.0)
    zombie.send(signal.SIGCONT)
    await lab.finish(stream)
    written, visible = [len(await read_all(stream.kafka.servers, topic, how)) for how in ISOLATION]
    lab.require(written > visible, "the zombie's transaction was never there")
    lab.note(f"{written - visible} score cards of the zombie written and never visible")


async def _can_be_read(stream: Stream, topic: dict[str, int], there: Mapping[tuple[str, int], tuple[int, int]]) -> bool:
    """Until the last stable offsets have come to what was there: whatever was open has been ended, by whoever took
    over or by its time. False if that does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        stable = await bounds(stream.kafka.servers, topic)
        if all(stable[at][1] >= end for at, (_, end) in there.items()):
            return True
        await asyncio.sleep(POLL_S)
    return False


async def members_come_and_go(lab: Lab) -> None:
    """F04: scorers join and leave every one to three seconds, one to six of them; aggregators one to two."""
    stream = await lab.stream()
    engine = EngineSettings(delay_s=0.2)
    await stream.feed(2_000)
    stream.start("aggregate")
    members = [stream.start("score", engine=engine)]
    await stream.until_seen(1)
    seen, started = len(stream.witness.seen), time.monotonic()
    await asyncio.sleep(CALM_S)
    calm = (len(stream.witness.seen) - seen) / (time.monotonic() - started)
    seen, started = len(stream.witness.seen), time.monotonic()
    changes = 0
    while time.monotonic() < started + STORM_S:
        await asyncio.sleep(lab.chance.uniform(1.0, 3.0))
        if len(members) == 1 or (len(members) < 6 and lab.chance.random() < 0.5):
            members.append(stream.start("score", engine=engine))
        else:
            members.pop(lab.chance.randrange(len(members))).send(signal.SIGTERM)
        changes += 1
        if stream.fed - len(stream.witness.seen) < 1_000:
            await stream.feed(1_000)
    stormy = (len(stream.witness.seen) - seen) / (time.monotonic() - started)
    ended = time.monotonic()
    lab.require(stormy >= 0.3 * calm, f"{stormy:.0f} documents/s in the storm, {calm:.0f}/s in the calm")
    lab.note(f"{changes} changes in {STORM_S:g} s; {calm:.0f} documents/s calm, {stormy:.0f}/s in the storm")
    for partition in range(stream.project.settings.topics.partitions):
        lab.gap(stream.witness.partition_gap_s(started, partition, ended), 15.0, f"partition {partition} without owner")
    stream.start("score", engine=EngineSettings(delay_s=0.0))
    await lab.finish(stream)


async def told_to_stop(lab: Lab) -> None:
    """F27: SIGTERM drains and does nothing twice; a second signal ends at once; SIGHUP; the parent of all dies."""
    stream = await lab.stream()
    requests = lab.folder / "requests"
    engine = EngineSettings(delay_s=0.1, requests=str(requests))
    out = lab.folder / "export"
    for name, arguments in (("score", ()), ("aggregate", ()), ("export", ("--out", str(out)))):
        others = [stream.start(other, engine=engine) for other in ("score", "aggregate") if other != name]
        service = stream.start(name, *arguments, engine=engine)
        await stream.feed(400)
        await stream.until_more(60)
        started = time.monotonic()
        code = await service.stop()
        lab.require(code == 0, f"{name} ended with {code} after SIGTERM: {service.last_words()}")
        lab.gap(time.monotonic() - started, 10.0, f"drain of {name}")
        for other in others:
            code = await other.stop()
            lab.require(code == 0, f"a service beside {name} ended with {code}: {other.last_words()}")
    asked = [
        line.rsplit("-", 1)[0].split("-", 3)[-1] for line in requests.read_text().splitlines() if "probe" not in line
    ]
    done = len(await _cards(stream))
    lab.require(len(asked) == done, f"{len(asked)} requests for {done} cards: something was done twice")
    await _twice(lab, stream)
    await _hang_up(lab, stream)
    stream.start("score", engine=EngineSettings(delay_s=0.0))
    stream.start("aggregate")
    await lab.finish(stream, audited=False)
    await _orphans(lab)


async def _cards(stream: Stream) -> list[object]:
    topic = stream.project.topic("scores")
    return await read_all(stream.kafka.servers, {topic: stream.project.settings.topics.partitions})


async def _twice(lab: Lab, stream: Stream) -> None:
    await stream.feed(50)
    under_way = lab.folder / "under-way"
    under_way.touch()
    service = stream.start("score", engine=EngineSettings(delay_s=600.0, requests=str(under_way)))
    lab.require(await service.until_said("event=assigned", PATIENCE_S), "the scorer was not assigned")
    lab.require(await until(lambda: under_way.stat().st_size > 0, PATIENCE_S), "nothing was asked")
    service.send(signal.SIGINT)
    heard = await until(lambda: not service.awaits(signal.SIGINT), PATIENCE_S)  # two that are still to come are one
    lab.require(heard, "a first SIGINT was not heard")
    started = time.monotonic()
    service.send(signal.SIGINT)
    code = await service.wait(PATIENCE_S)
    lab.require(code == 130, f"a second SIGINT ended the scorer with {code}: {service.last_words()}")
    lab.gap(time.monotonic() - started, 2.0, "end after a second SIGINT")


async def _hang_up(lab: Lab, stream: Stream) -> None:
    service = stream.start("score", engine=EngineSettings(delay_s=0.1))
    await service.until_said("event=assigned", PATIENCE_S)
    service.send(signal.SIGHUP)
    lab.require(await service.wait(PATIENCE_S) is not None, "SIGHUP did not end the scorer")


async def _orphans(lab: Lab) -> None:
    """`mira-stream up` with a Kafka of its own is killed: no service and no JVM may stay."""
    async with serving(Endpoint()) as endpoint:
        project = await lab.stream(url=endpoint.url)
        up = project.start("up", own_broker=True)
        lab.require(await up.until_said("; broker ", PATIENCE_S), f"up did not come up: {up.last_words()}")
        family = descendants(up.pid)
        lab.require(len(family) >= 4, f"up has {len(family)} processes below it")
        await up.kill()
        gone = await until(lambda: not any(map(is_alive, family)), PATIENCE_S)
        lab.require(gone, f"some of {len(family)} processes outlived the one that started them")
