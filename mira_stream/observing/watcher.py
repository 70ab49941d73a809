"""One look at a running project: services asked, logs read on from where the last look stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from mira_stream.config import Project
from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.observing.facts import Answer, Look, Position, Positions, Shape
from mira_stream.observing.heat import heat_rows
from mira_stream.observing.observer import NOT_ASKED, Observer
from mira_stream.observing.services import kept_alive
from mira_stream.observing.snapshot import BrokerRow, Snapshot, Trouble
from mira_stream.records import LogReader, Record, TopicPartition
from mira_stream.reliability.acceptance import served_under
from mira_stream.reliability.table import Table, load_table
from mira_stream.streaming.ports import Broker
from mira_stream.streaming.positions import stamps

TAIL: Final = 2_000
"""Offsets read back of each partition at the first look, and at most at any later one; the policy is read whole."""
LETTERS_TAIL: Final = 500
"""The same for dead letters, which are larger."""
LOG_S: Final = 15.0
"""Patience with the broker until the log is read."""
HEAR_S: Final = 3.0
"""A look waits no longer than this for its next answer: what is shown is then of now, without the log."""

Ask = Callable[[], Awaitable[Mapping[str, Answer]]]
Connect = Callable[[], Broker]
"""Raises DependencyError while there is none."""
Take = Callable[[Record], None]


def shape_of(project: Project) -> Shape:
    """A vLLM of ours works on `max_num_seqs` documents at once; an endpoint elsewhere on as many as it is given."""
    most = project.settings.limits.in_flight_documents
    slots = {
        name: min(group.max_num_seqs, most) if group.engine == "vllm" else most
        for name, group in project.settings.groups.items()
    }
    return Shape(project.root.name, slots)


class Watcher:
    """The only owner of an Observer, and of the broker that `connect` gives. `ask` gives the services' answers; without
    a broker the log's part is missing, and the Snapshot says so, since when, and what to do. One that does not answer
    is waited for beside the looks; one that was away is connected to anew: it may be elsewhere by now."""

    def __init__(self, project: Project, connect: Connect | None, ask: Ask) -> None:
        self._project = project
        self._connect = connect
        self._broker: Broker | None = None
        self._away = NOT_ASKED
        self._ask = ask
        self._observer = Observer(shape_of(project))
        self._reader: LogReader | None = None
        self._next: dict[TopicPartition, int] = {}
        self._tables: dict[str, tuple[tuple[int, int, int], Table]] = {}
        self._stood: dict[TopicPartition, Position] = {}
        """Where readers stood at the last look."""
        self._notes: list[str] = []
        self._reading: asyncio.Task[tuple[Positions, Positions, Positions]] | None = None
        self._reading_since_ms = 0
        self._heard = 0
        """Answers of the broker."""

    async def look(self, now_ms: int) -> Snapshot:
        """Never raises for what is down: it is in the Snapshot."""
        self._notes = []
        asked, (documents, scores, decisions) = await asyncio.gather(self._ask(), self._log(now_ms))
        answers = dict(asked)
        if not answers:
            root = self._project.root
            self._notes.append(
                f"no service is known: start mira-stream up --project {root}, or name --service NAME=URL"
            )
        sources = self._observer.sources
        settings = self._project.settings
        members = {group: settings.sources_of(group) for group in settings.groups}
        tables = self._read_tables()
        modes = {group: served_under(self._project, group, tables.get(group)).mode_of for group in settings.groups}
        heat = heat_rows(tables, modes, members, sources)
        kept = kept_alive(self._project.root)
        look = Look(now_ms, answers, documents, scores, decisions)
        return self._observer.look(look, heat, self._notes, kept, self._away)

    async def close(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        reader, self._reader = self._reader, None
        broker, self._broker = self._broker, None
        if reader is not None:
            await reader.close()
        if broker is not None:
            await broker.close()

    async def _log(self, now_ms: int) -> tuple[Positions, Positions, Positions]:
        if self._connect is None:
            self._notes.append("no broker: what the log says is missing")
            return {}, {}, {}
        if self._reading is None:
            self._reading, self._reading_since_ms = asyncio.create_task(self._read(self._connect)), now_ms
        reading = self._reading
        if not await self._goes_on(reading):
            self._is_away(self._reading_since_ms, _silent(f"does not answer: {HEAR_S:.0f} s and more"))
            return {}, {}, {}
        self._reading = None
        try:
            found = reading.result()
        except TimeoutError:
            self._is_away(now_ms, _silent(f"did not answer in {LOG_S:.0f} s"))
            await self.close()
        except DependencyError as error:
            self._is_away(now_ms, error)
            await self.close()
        except DataLossError as error:
            self._notes.append(f"{error.cause}; do: {error.fix}")
        else:
            self._away = BrokerRow(answers=True)
            return found
        return {}, {}, {}

    async def _goes_on(self, reading: asyncio.Task[Any]) -> bool:
        """Whether it is over; False as soon as the broker leaves it without an answer."""
        heard = -1
        while not reading.done() and heard != self._heard:
            heard = self._heard
            await asyncio.wait({reading}, timeout=HEAR_S)
        return reading.done()

    async def _read(self, connect: Connect) -> tuple[Positions, Positions, Positions]:
        async with asyncio.timeout(LOG_S):
            broker = self._broker = self._broker or connect()
            reader = self._reader = self._reader or await broker.reader()
            await self._follow(reader)
            return await self._positions(broker, reader)

    def _is_away(self, now_ms: int, error: DependencyError) -> None:
        since_ms = self._away.since_ms if self._away.answers is False else now_ms
        trouble = Trouble(code=error.code, cause=error.cause, fix=error.fix)
        self._away = BrokerRow(answers=False, since_ms=since_ms, error=trouble)
        self._notes.append("no broker: what the log says is missing")

    async def _positions(self, broker: Broker, reader: LogReader) -> tuple[Positions, Positions, Positions]:
        project = self._project
        documents: dict[TopicPartition, Position] = {}
        for group in sorted(project.settings.groups):
            scorer = project.consumer_group(f"scorer.{group}")
            documents |= await self._stand(broker, reader, scorer, project.documents_topic(group))
        scores = await self._stand(broker, reader, project.consumer_group("aggregator"), project.topic("scores"))
        decisions = await self._stand(broker, reader, project.consumer_group("exporter"), project.topic("decisions"))
        return documents, scores, decisions

    async def _follow(self, reader: LogReader) -> None:
        project, sources = self._project, self._observer.sources
        await self._read_on(reader, project.topic("policy"), sources.policy, None)
        await self._read_on(reader, project.topic("epochs"), sources.epoch, TAIL)
        await self._read_on(reader, project.topic("windows"), sources.window, TAIL)
        await self._read_on(reader, project.topic("state"), sources.state, TAIL)
        letters = self._observer.letters
        letters.followed(await self._read_on(reader, project.topic("dead-letters"), letters.take, LETTERS_TAIL))

    async def _read_on(self, reader: LogReader, topic: str, take: Take, tail: int | None) -> int:
        """How many offsets it passed over."""
        left_out = 0
        self._heard += 1
        partitions = await reader.partitions(topic)
        bounds = await reader.bounds(partitions) if partitions else {}
        for partition, (first, end) in bounds.items():
            unread = max(first, self._next.get(partition, first))
            begin = unread if tail is None else max(unread, end - tail)
            left_out += begin - unread
            async for record in reader.read(partition, begin, end):
                take(record)
                self._heard += 1
                self._next[partition] = record.offset + 1
            self._next[partition] = max(begin, end)
            self._heard += 1
        return left_out

    async def _stand(
        self, broker: Broker, reader: LogReader, consumer_group: str, topic: str
    ) -> dict[TopicPartition, Position]:
        partitions = await reader.partitions(topic)
        if not partitions:
            return {}
        bounds = await reader.bounds(partitions)
        self._heard += 1
        committed = await broker.committed(consumer_group, partitions)
        self._heard += 1
        ends = await reader.high_watermarks(partitions)
        self._heard += 1
        found: dict[TopicPartition, Position] = {}
        for partition, (first, stable) in bounds.items():
            now = Position(first, max(stable, ends[partition]), committed.get(partition))
            is_open = now.end > stable  # what waits behind a transaction cannot be read, nor counted
            records = None if is_open else await self._counted(reader, partition, now)
            found[partition] = now._replace(records=records)
        self._stood |= found
        return found

    async def _counted(self, reader: LogReader, partition: TopicPartition, now: Position) -> int | None:
        """Where a partition has stood since the last look, its last offsets are read once: they may be markers."""
        before = self._stood.get(partition)
        if before is None or (before.next, before.end) != (now.next, now.end) or now.next >= now.end:
            return None
        if before.records is not None:
            return before.records
        found = await stamps(reader, partition, now.next, now.end)
        self._heard += 1
        return None if found is None else len(found)

    def _read_tables(self) -> Mapping[str, Table]:
        """Each is read again when its file has changed: `reliability` replaces it."""
        for group in self._project.settings.groups:
            path = self._project.reliability_path(group)
            try:
                at = path.stat()
                stamp = (at.st_ino, at.st_mtime_ns, at.st_size)
                if group not in self._tables or self._tables[group][0] != stamp:
                    self._tables[group] = (stamp, load_table(path))
            except (OSError, ConfigError):
                self._tables.pop(group, None)  # an unmeasured group has no row; the page says how to measure it
        return {group: table for group, (_, table) in self._tables.items()}


def _silent(said: str) -> DependencyError:
    return DependencyError("broker_silent", f"the broker {said}", "look whether it runs, and its log")
