"""Faults of what is changed while it runs: policies, sources and a shadow, beside aggregators that are killed."""

import asyncio
import shutil
import sys
import time
from contextlib import suppress
from typing import Final

import msgspec
from msgspec.structs import replace

from mira_stream.audit.run import audit
from mira_stream.config import FILE_NAME, Project, load_project
from mira_stream.messages import Decision
from mira_stream.streaming.topics import topic_specs
from tests.faults.engines import EngineSettings
from tests.faults.lab import Lab
from tests.faults.services import PATIENCE_S, ROOT, Service
from tests.faults.stream import Stream
from tests.faults.topic_faults import Admin
from tests.faults.witness import Witness, counted, read_all

SHADOW: Final = "next"
ADDED: Final = "text-c"
ROUNDS: Final = 6
ADDED_IN: Final = 2
SHADOW_KILLED_IN: Final = (1, 4)
FED: Final = 20
FED_EVERY_S: Final = 0.5
KILLED_WITHIN_S: Final = 3.0
"""A change by command takes about as long, most of it until its process is up."""
GAP_S: Final = 20.0


async def changed_while_killed(lab: Lab) -> None:
    """F32: targets are set and a source is added by command, a shadow tries another prompt, and in each round one of
    two aggregators is killed at some moment of the change; twice the shadow, too.

    Passes if no decision is under an older policy than one before it of its source and partition, the last of each
    source are under the newest one, the new source has no dead letter, and the shadow, too, has each document once.
    """
    stream = await lab.stream()
    tried = _tried(stream.project)
    own = [spec for spec in topic_specs(tried) if spec.name.startswith(tried.topic(""))]
    await stream.broker.create_topics(own, 1)
    beside = Witness(
        stream.kafka.servers,
        [tried.topic("decisions"), tried.topic("dead-letters")],
        stream.project.settings.topics.partitions,
    )
    await beside.start()
    try:
        await _change(lab, stream, tried)
        await stream.until_seen(stream.fed)
        seen = await beside.until_going(stream.fed, 120.0)
        lab.require(seen, f"the shadow has ended {len(beside.seen)} of {stream.fed} documents")
        counts = await lab.finish(stream)
        lab.require(counts.dead_letters == 0, f"{counts.dead_letters} dead letters in the live stream")
        await _judge_policies(lab, stream)
        twice = sum(times - 1 for times in counted(beside.seen).values())
        lab.require(twice == 0, f"{twice} documents twice in the shadow")
        result = await audit(tried, stream.broker, None)
        lab.require(result.ok and not result.waiting, f"the shadow: {result.line()}")
    finally:
        await beside.close()
        for service in stream.services:
            await service.kill()
        async with Admin(stream.kafka.servers) as admin:
            for spec in own:
                await admin.delete_topic(spec.name)


def _tried(live: Project) -> Project:
    """A copy of the project with another prompt, which is another lineage, and another target; as a shadow."""
    root = live.root.with_name(f"{live.root.name}-tried")
    shutil.copytree(live.root, root, ignore=shutil.ignore_patterns("logs"))
    (root / "prompts" / "text" / "user.txt").write_text("${dimensions}\n\nThe document:\n${document}")
    toml = root / FILE_NAME
    toml.write_text(toml.read_text().replace("retention = 0.3", "retention = 0.8"))
    return replace(load_project(root, {}), shadow=SHADOW)


async def _change(lab: Lab, stream: Stream, tried: Project) -> None:
    engine = EngineSettings(delay_s=0.02)
    aggregators = {name: stream.start("aggregate", "--instance", name) for name in ("left", "right")}
    stream.start("score", engine=engine)

    def start_shadow() -> Service:
        own = ("--project", str(tried.root))  # the last one counts
        return stream.start("score", "--shadow", SHADOW, "--instance", "beside", *own, engine=engine)

    shadow = start_shadow()
    await stream.feed(FED)
    lab.require(await stream.until_seen(FED), "the live stream never began")
    lab.require(await shadow.until_said("event=assigned", PATIENCE_S), f"the shadow never began: {shadow.last_words()}")
    added, over = asyncio.Event(), asyncio.Event()
    feeding, began = asyncio.create_task(_feed(stream, added, over)), time.monotonic()
    try:
        for number in range(ROUNDS):
            victim = lab.chance.choice(sorted(aggregators))
            killing = asyncio.create_task(_killed(aggregators[victim], lab.chance.uniform(0.0, KILLED_WITHIN_S)))
            if number == ADDED_IN:
                await _command(lab, stream, "source", "add", ADDED, "--like", "text-a")
                shutil.copy(stream.project.root / FILE_NAME, tried.root / FILE_NAME)
                added.set()
            else:
                key = lab.chance.choice(["*", "group:text", "source:text-a", "source:text-b"])
                target = f"{lab.chance.randint(10, 90) / 100}"
                await _command(lab, stream, "policy", "set", key, "--retention", target, "--note", f"round {number}")
            await killing
            aggregators[victim] = stream.start("aggregate", "--instance", victim)
            if number in SHADOW_KILLED_IN:
                await shadow.kill()
                shadow = start_shadow()
            seen = len(stream.witness.seen)
            lab.require(await stream.until_seen(seen + FED), f"nothing is decided after round {number}")
        await _command(lab, stream, "policy", "set", "*", "--band", "0.3", "--note", "the last")
    finally:
        over.set()
        await feeding
    await stream.until_seen(stream.fed)
    ended = stream.witness.times[-1]
    for partition in range(stream.project.settings.topics.partitions):
        lab.gap(stream.witness.partition_gap_s(began, partition, ended), GAP_S, f"partition {partition} undecided")
    await stream.feed(4 * FED)
    await stream.feed(4 * FED, source=ADDED)
    kills = f"{ROUNDS} SIGKILLs of aggregators and {len(SHADOW_KILLED_IN)} of the shadow"
    lab.note(f"{kills} in {ROUNDS + 1} changes, {ended - began:.0f} s")


async def _feed(stream: Stream, added: asyncio.Event, over: asyncio.Event) -> None:
    """Documents all the time; of the new source as soon as it is there."""
    while not over.is_set():
        await stream.feed(FED)
        if added.is_set():
            await stream.feed(FED // 2, source=ADDED)
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), FED_EVERY_S)


async def _killed(service: Service, after_s: float) -> None:
    await asyncio.sleep(after_s)
    await service.kill()


async def _command(lab: Lab, stream: Stream, *words: str) -> None:
    """A command of a person's, in a process of its own."""
    where = ("--project", str(stream.project.root), "--bootstrap-servers", stream.servers)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mira_stream", *words, *where, cwd=ROOT, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    lab.require(process.returncode == 0, f"{' '.join(words)} ended with {process.returncode}: {said.decode()[-300:]}")


async def _judge_policies(lab: Lab, stream: Stream) -> None:
    topics = {
        name: number for name, number in (await stream.topics()).items() if name.endswith((".decisions", "policy"))
    }
    decisions, written = stream.project.topic("decisions"), stream.project.topic("policy")
    newest: dict[tuple[int, str], int] = {}
    last = 0
    back = 0
    for record in await read_all(stream.kafka.servers, topics):
        if record.topic == written:
            last = max(last, record.offset)
        elif record.topic == decisions:
            decision = msgspec.json.decode(record.value, type=Decision)
            place = (record.partition, decision.source)
            back += decision.policy < newest.get(place, 0)
            newest[place] = max(decision.policy, newest.get(place, 0))
    lab.require(back == 0, f"{back} decisions are under an older policy than one before them")
    behind = {place: policy for place, policy in newest.items() if policy != last}
    lab.require(not behind, f"the newest policy is {last}; the last decisions are under {behind}")
    lab.require(any(source == ADDED for _, source in newest), f"{ADDED} has no decision")
