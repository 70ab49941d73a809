"""A consumer group: members, generations and eager rebalances as the classic protocol has them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from mira_stream.errors import DependencyError
from mira_stream.records import TopicPartition
from mira_stream.streaming.ports import AssignmentListener


class Member(Protocol):
    """A consumer as its group sees it."""

    topics: tuple[str, ...]
    listener: AssignmentListener
    assignment: tuple[TopicPartition, ...]

    def close_gates(self) -> None:
        """No record flows until `seek`."""
        ...

    def fail(self, error: Exception) -> None:
        """A listener raised; the next poll says so."""
        ...


class Group:
    """Every change of membership takes all partitions from all members and deals them out anew."""

    def __init__(self, partitions_of: Callable[[str], Sequence[TopicPartition]], changed: Callable[[], None]) -> None:
        self.offsets: dict[TopicPartition, int] = {}
        self.members: list[Member] = []
        self.generation = 0
        self._static: dict[str, Member] = {}
        self._replacing: dict[Member, asyncio.Task[None]] = {}
        """Who waits to take an older member's place."""
        self._partitions_of = partitions_of
        self._changed = changed
        self._settled = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def rebalancing(self) -> bool:
        return self._settled != self.generation

    def join(self, member: Member, instance: str = "") -> None:
        if member in self._replacing:
            return  # it will be one in its place: twice in the list, it would stay when it is expelled
        older = self._static.get(instance) if instance else None
        if instance:
            self._static[instance] = member
        if older is not None and older in self.members:
            self._replacing[member] = asyncio.create_task(self._replace(older, member, instance))
            return
        if member not in self.members:
            self.members.append(member)
        self._rebalance()

    def expel(self, member: Member) -> None:
        """Drop a member that does not know it: its session timed out while it was not looking."""
        self.members.remove(member)
        self._rebalance()

    async def _replace(self, older: Member, member: Member, instance: str) -> None:
        """The same static member in another process: its partitions go over without a rebalance."""
        await self.wait_settled()
        if self._replacing.pop(member, None) is None:  # it left before it was one
            if self._static[instance] is member:
                self._static[instance] = older
            return
        if older not in self.members:  # it left meanwhile
            self.join(member)
            return
        self.members[self.members.index(older)] = member
        member.assignment, older.assignment = older.assignment, ()
        older.close_gates()
        older.fail(DependencyError("instance_taken", "another member has joined by that name", "choose another name"))
        await self._call(member, member.listener.on_assigned(member.assignment))

    def leave(self, member: Member) -> None:
        """A member that closes: it asked for it, so its listener is not called."""
        member.assignment = ()
        member.close_gates()
        self._replacing.pop(member, None)
        if member in self.members:
            self.expel(member)

    async def revoke(self, member: Member) -> None:
        revoked, member.assignment = member.assignment, ()
        member.close_gates()
        if revoked:
            await self._call(member, member.listener.on_revoked(revoked))

    async def wait_settled(self) -> None:
        """Until the last rebalance is over."""
        while self._task is not None:
            await asyncio.shield(self._task)

    def deal_out(self) -> None:
        """The topics of its members have other partitions: clients notice, and join again."""
        if self.members:
            self._rebalance()

    def _rebalance(self) -> None:
        self.generation += 1
        if self._task is None:
            self._task = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        while self.rebalancing:
            generation, members = self.generation, list(self.members)
            await asyncio.gather(*(self.revoke(member) for member in members))
            if generation == self.generation:
                await self._assign(members)
                self._settled = generation
        self._task = None
        self._changed()

    async def _assign(self, members: Sequence[Member]) -> None:
        dealt: dict[int, list[TopicPartition]] = {index: [] for index in range(len(members))}
        for topic in sorted({topic for member in members for topic in member.topics}):
            takers = [index for index, member in enumerate(members) if topic in member.topics]
            for number, partition in enumerate(self._partitions_of(topic)):
                dealt[takers[number % len(takers)]].append(partition)
        for index, member in enumerate(members):
            member.assignment = tuple(dealt[index])
        await asyncio.gather(
            *(self._call(member, member.listener.on_assigned(member.assignment)) for member in members)
        )

    async def _call(self, member: Member, callback: Awaitable[None]) -> None:
        try:
            await callback
        except Exception as error:  # raised by the member's next poll
            member.fail(error)
