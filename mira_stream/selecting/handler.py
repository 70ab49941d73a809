"""The aggregator's work on one partition of the score log: cards in, epochs, states and decisions out.

No wall clock and no owner's name in what it writes: over one score log, restart and replay give the same bytes.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from mira_stream.clock import now_ms
from mira_stream.config import Project
from mira_stream.errors import DocumentError, StageStopped
from mira_stream.messages import Checkpoint, DeadLetter, Decision, Epoch, ScoreCard, SourceState, decoder, encode
from mira_stream.records import LogReader, Outgoing, Record, TopicPartition, trace_of
from mira_stream.sections import WindowsSection
from mira_stream.selecting.following import PolicyFollower
from mira_stream.selecting.homes import Homes
from mira_stream.selecting.letters import STAGE, no_mask, refused, unreadable
from mira_stream.selecting.policies import PolicyLog, Rules
from mira_stream.selecting.restore import CHECKPOINT_KEY, WINDOWS_KEY, restore
from mira_stream.selecting.selector import Selection, Selector
from mira_stream.selecting.windowing import Sealed, Windowing, WindowMetrics, prior_under
from mira_stream.window_messages import WindowsState

_card_decoder: Final = decoder(ScoreCard)


class SelectingMetrics(WindowMetrics, Protocol):
    """Called when a transaction is committed, so that what was rolled back never counts."""

    def decided(self, source: str, decision: str) -> None: ...

    def took(self, seconds: float) -> None: ...

    def moved(self, epoch: Epoch) -> None:
        """Also of the epochs in force when a partition is taken up."""
        ...

    def follows(self, version: int) -> None:
        """The newest policy version that was read."""
        ...

    def stands(self, of: str, documents: int, kept: float) -> None: ...

    def dead(self, stage: str, reason: str) -> None: ...


class Topics:
    """The aggregator's topics by their full names, and how the score log is keyed."""

    def __init__(self, project: Project) -> None:
        self.decisions = project.topic("decisions")
        self.epochs = project.topic("epochs")
        self.windows = project.topic("windows")
        self.state = project.topic("state")
        self.policy = project.topic("policy")
        self.scores_key = project.settings.topics.scores_key
        self.dead_letters = project.topic("dead-letters")


class SelectingFactory:
    """Makes the handler of a partition whenever its ownership starts anew."""

    def __init__(self, project: Project, metrics: SelectingMetrics, now: Callable[[], int] = now_ms) -> None:
        self._project = project
        self._metrics = metrics
        self._now = now

    def __call__(self, partition: TopicPartition, reader: LogReader) -> "SelectingHandler":
        limits = self._project.settings.limits
        return SelectingHandler(
            partition,
            reader,
            Topics(self._project),
            self._metrics,
            limits.checkpoint_cards,
            limits.dead_letters_in_a_row,
            self._project.settings.windows,
            self._now,
        )


class SelectingHandler:
    """Owns the partition's selector. The policy topic is looked at once a transaction, before its first card, and
    before a card without a mask becomes a dead letter."""

    def __init__(
        self,
        partition: TopicPartition,
        reader: LogReader,
        topics: Topics,
        metrics: SelectingMetrics,
        checkpoint_cards: int,
        unknown_in_a_row_max: int,
        windows: WindowsSection,
        now: Callable[[], int],
    ) -> None:
        self._partition = partition
        self._reader = reader
        self._topics = topics
        self._metrics = metrics
        self._checkpoint_cards = checkpoint_cards
        self._unknown_in_a_row_max = unknown_in_a_row_max
        self._follower = PolicyFollower(topics.policy, reader, topics.scores_key)
        self._homes = Homes(partition, topics.state, reader)
        self._selector = Selector(partition.partition)
        self._windowing = Windowing(windows, prior_under(self._follower.log))
        self._now = now
        self._cards = 0
        self._unknown_in_a_row = 0
        self._policy_is_due = False
        self._uncounted: list[Decision | DeadLetter | Epoch] = []

    async def open(self, next_offset: int) -> None:
        """Read the policy to its end, then restore. Raises ConfigError(policy_missing), DataLossError (homes.py,
        restore.py)."""
        await self._homes.open()
        await self._follower.start()
        state = TopicPartition(self._topics.state, self._partition.partition)
        epochs = TopicPartition(self._topics.epochs, self._partition.partition)
        self._cards = await restore(
            self._selector,
            self._windowing,
            self._reader,
            self._partition,
            state,
            epochs,
            self._follower.log,
            next_offset,
        )
        self._windowing.begin(self._now(), next_offset)
        self._policy_is_due = True  # the first card may come much later
        for total in self._selector.totals():
            self._metrics.stands(*total)
        self._metrics.follows(self._follower.log.version)
        for epoch in self._selector.in_force:
            self._metrics.moved(epoch)

    async def handle(self, record: Record) -> Sequence[Outgoing]:
        """Epoch and states of a border, if the card is at one, then its decision or dead letter.

        Raises StageStopped when too many cards in a row have no mask: that is no document's fault; DataLossError
        (score_log_moved).
        """
        if self._policy_is_due:
            self._policy_is_due = False
            await self._refresh()
        try:
            card = _card_decoder.decode(record.value or b"")
        except msgspec.DecodeError as error:
            written = [self._buried(record, unreadable(record, str(error)))]
        else:
            await self._homes.admit(card.group)
            rules = rules_of(card, self._follower.log)
            if isinstance(rules, DocumentError):
                # Registered since the transaction began, perhaps: before its documents, so before this card.
                await self._refresh()
                rules = rules_of(card, self._follower.log)
            written = self._written(record, card, rules)
        self._cards += 1
        if self._cards >= self._checkpoint_cards:
            self._cards = 0
            written += self._checkpoint(record.offset + 1)
        return written

    async def seal(self, next_offset: int) -> Sequence[Outgoing]:
        """The windows that are due, complete up to this transaction."""
        return self._summed_up(self._windowing.seal(next_offset, self._now()))

    async def tick(self, next_offset: int, *, last: bool = False) -> Sequence[Outgoing]:
        """The same while no cards come: the clock closes the windows of silent sources. The last time no correction is
        held back any longer."""
        return self._summed_up(self._windowing.seal(next_offset, self._now(), last=last))

    async def committed(self) -> None:
        """Count what the transaction held; look at the policy before the next one."""
        self._policy_is_due = True
        self._homes.forget()
        now_ms = self._now()
        for outcome in self._uncounted:
            if isinstance(outcome, Decision):
                self._metrics.decided(outcome.source, outcome.decision)
                self._metrics.took((now_ms - outcome.origin.timestamp_ms) / 1000)
            elif isinstance(outcome, Epoch):
                self._metrics.moved(outcome)
            else:
                self._metrics.dead(STAGE, outcome.reason)
        for total in self._selector.totals({one.source for one in self._uncounted if isinstance(one, Decision)}):
            self._metrics.stands(*total)
        self._uncounted.clear()
        self._windowing.committed(self._metrics)

    async def close(self) -> None:
        """Nothing to give back."""

    async def _refresh(self) -> None:
        await self._follower.refresh()
        self._metrics.follows(self._follower.log.version)

    def _written(self, record: Record, card: ScoreCard, rules: Rules | DocumentError) -> list[Outgoing]:
        if isinstance(rules, DocumentError):
            self._count_unknown(rules)
            return [self._buried(record, refused(record, card, rules))]
        self._unknown_in_a_row = 0
        selection = self._selector.select(card, record.offset, rules)
        border = self._border(selection, record.offset)
        if isinstance(selection.outcome, DocumentError):
            return [*border, self._buried(record, refused(record, card, selection.outcome))]
        self._windowing.add(selection.outcome)
        return [*border, self._decided(record, selection.outcome)]

    def _border(self, selection: Selection, offset: int) -> list[Outgoing]:
        if selection.epoch is None:
            return []
        epoch: Epoch = selection.epoch
        self._uncounted.append(epoch)
        where = self._partition.partition
        moved = Outgoing(self._topics.epochs, epoch.epoch_of.encode(), encode(epoch), where)
        if selection.all_complete:
            windows = self._windowing.checkpoint(offset)
        else:
            windows = self._windowing.at_border(epoch.epoch_of, offset)
        return [moved, *(self._kept(state) for state in selection.states), *map(self._kept_windows, windows)]

    def _kept(self, state: SourceState) -> Outgoing:
        return Outgoing(self._topics.state, state_key(state), encode(state), self._partition.partition)

    def _kept_windows(self, state: WindowsState) -> Outgoing:
        key = WINDOWS_KEY + state.source.encode()
        return Outgoing(self._topics.state, key, encode(state), self._partition.partition)

    def _summed_up(self, sealed: Sealed) -> list[Outgoing]:
        where = self._partition.partition
        summaries = [Outgoing(self._topics.windows, s.source.encode(), encode(s), where) for s in sealed.summaries]
        return [*summaries, *map(self._kept_windows, sealed.states)]

    def _decided(self, record: Record, decision: Decision) -> Outgoing:
        self._uncounted.append(decision)
        where, key = decision.origin.partition, decision.id.encode()
        return Outgoing(self._topics.decisions, key, encode(decision), where, trace_of(record))

    def _buried(self, record: Record, letter: DeadLetter) -> Outgoing:
        self._uncounted.append(letter)
        where = letter.origin.partition if letter.origin is not None else record.partition
        key = letter.id.encode() if letter.id is not None else None
        return Outgoing(self._topics.dead_letters, key, encode(letter), where, trace_of(record))

    def _checkpoint(self, next_offset: int) -> list[Outgoing]:
        states = [self._kept(state) for state in self._selector.checkpoint(next_offset)]
        states += map(self._kept_windows, self._windowing.checkpoint(next_offset))
        mark = encode(Checkpoint(next_offset=next_offset))
        return [*states, Outgoing(self._topics.state, CHECKPOINT_KEY, mark, self._partition.partition)]

    def _count_unknown(self, refusal: DocumentError) -> None:
        self._unknown_in_a_row += 1
        if self._unknown_in_a_row >= self._unknown_in_a_row_max:
            raise StageStopped(
                "no_mask",
                f"{self._unknown_in_a_row} cards in a row have no mask; the last: {refusal.error}",
                "put in force the masks of the project that these cards were scored with: mira-stream prepare (of a"
                " source that is in no mira.toml: mira-stream source add), then start it again; it goes on where it"
                " stopped. Those before are dead letters: mira-stream dlq replay --stage aggregate --reason"
                " unknown_source, again until none is left",
            )


def rules_of(card: ScoreCard, policies: PolicyLog) -> Rules | DocumentError:
    """The newest rules for a card, or why there are none."""
    rules = policies.rules(card.group, card.source, card.lineage)
    return no_mask(card, known=policies.knows(card.group, card.source)) if rules is None else rules


def state_key(state: SourceState) -> bytes:
    """`source|lineage|mask`."""
    return f"{state.source}|{state.lineage}|{state.mask}".encode()
