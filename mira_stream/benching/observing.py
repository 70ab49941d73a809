"""Watches a run from the ports: outcomes as they are committed, requests as they go into an engine and come out."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mira_stream.benching.frame import Frames
from mira_stream.clock import Monotonic, monotonic
from mira_stream.records import Outgoing, TopicPartition
from mira_stream.render import Offsets
from mira_stream.scoring.engine import Completion, Engine, Request
from mira_stream.streaming.forwarding import ForwardingBroker
from mira_stream.streaming.ports import Broker, TransactionalProducer

Committed = Callable[[Sequence[Outgoing]], None]
"""Told of the records of a transaction once it is committed."""


class ObservedBroker(ForwardingBroker):
    """A broker whose producers tell what they have committed."""

    def __init__(self, broker: Broker, committed: Committed) -> None:
        super().__init__(broker)
        self._told = committed

    async def producer(self, transactional_id: str) -> TransactionalProducer:
        return _Observed(await super().producer(transactional_id), self._told)


class _Observed:
    def __init__(self, producer: TransactionalProducer, committed: Committed) -> None:
        self._producer = producer
        self._told = committed
        self.close = producer.close

    async def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], consumer_group: str | None
    ) -> None:
        await self._producer.commit(records, offsets, consumer_group)
        self._told(records)


class Used(NamedTuple):
    """What an engine has done so far. `busy_s`: time with a request in it; `prompts`: requests that were answered."""

    busy_s: float = 0.0
    prompts: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generation_tokens: int = 0

    def since(self, before: "Used") -> "Used":
        return Used(
            self.busy_s - before.busy_s,
            self.prompts - before.prompts,
            self.prompt_tokens - before.prompt_tokens,
            self.cached_tokens - before.cached_tokens,
            self.generation_tokens - before.generation_tokens,
        )


class ObservedEngine:
    """An engine that is counted; keeps the promises of `Engine` as far as the one inside does."""

    def __init__(self, engine: Engine, now: Monotonic = monotonic) -> None:
        self.engine = engine
        self._now = now
        self._in_flight = 0
        self._since = 0.0
        self._used = Used()
        self.frames = Frames()
        self.start = engine.start
        self.stop = engine.stop

    def used(self) -> Used:
        running = self._now() - self._since if self._in_flight else 0.0
        return self._used._replace(busy_s=self._used.busy_s + running)

    async def generate(self, request: Request) -> Completion:
        if not self._in_flight:
            self._since = self._now()
        self._in_flight += 1
        try:
            completion = await self.engine.generate(request)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._used = self._used._replace(busy_s=self._used.busy_s + self._now() - self._since)
        self.frames.add(completion.prompt_token_ids)
        busy_s, prompts, prompt, cached, generated = self._used
        self._used = Used(
            busy_s,
            prompts + 1,
            prompt + completion.prompt_tokens,
            cached + completion.cached_tokens,
            generated + completion.generation_tokens,
        )
        return completion

    async def forget(self) -> bool:
        """Empty the prefix cache; False where the engine has no way to."""
        reset = getattr(self.engine, "reset_prefix_cache", None)
        if reset is None:
            return False
        await reset()
        return True

    def tokenize(self, text: str) -> Offsets:
        return self.engine.tokenize(text)

    @property
    def tokens_basis(self) -> str:
        return self.engine.tokens_basis

    @property
    def special_tokens(self) -> tuple[str, ...]:
        return self.engine.special_tokens

    @property
    def alive(self) -> bool:
        return self.engine.alive

    @property
    def serves(self) -> bool:
        return self.engine.serves
