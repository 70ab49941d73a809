"""Documents of many requests into the log: together in transactions, each id once, answered when committed."""

import asyncio
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from mira_stream.clock import Monotonic, monotonic
from mira_stream.errors import (
    CommitUnknown,
    ConfigError,
    DependencyError,
    DocumentError,
    MiraError,
    ProducerFenced,
    TransactionExpired,
)
from mira_stream.ingest.known import Known
from mira_stream.ingest.posted import Taken
from mira_stream.records import Outgoing
from mira_stream.streaming.ports import Broker, TransactionalProducer
from mira_stream.streaming.remembering import Remembering

Outcome = Literal["accepted", "duplicate", "conflict"]
TRANSACTION_DOCUMENTS: Final = 500
TRANSACTION_BYTES: Final = 8 * 2**20
TOO_LARGE: Final = "record_too_large"
"""The code of the error for a record that its topic does not take."""
REOPEN_S: Final = 1.0
ANSWER_S: Final = 5.0
SILENT: Final = "broker_silent"
"""The code of the error for a transaction that the broker has not answered in time."""
GATHER_S: Final = 0.05
GATHER_REQUESTS: Final = 16
"""More are not waited for: two halves that take turns were faster than one whole there (bench/posting.py)."""
SETTLE_EVERY: Final = 200
"""Transactions after which the log need not be read from further back."""


class _Request(NamedTuple):
    """What one request brings that is new; `done` is None when it is in the log, else why it is not."""

    documents: list[Taken]
    traceparent: bytes
    since_s: float
    done: "asyncio.Future[MiraError | None]"

    @property
    def bytes(self) -> int:
        return sum(len(document.value) for document in self.documents)


class Intake:
    """One process a project: the transactional id fences another one, so what this one knows of ids is true."""

    def __init__(
        self,
        broker: Broker,
        transactional_id: str,
        topics: Sequence[str],
        known: Known,
        blocked_s: float,
        now: Monotonic = monotonic,
        answer_s: float = ANSWER_S,
    ):
        self.known = known
        self.gather_requests = GATHER_REQUESTS
        self.answer_s = answer_s
        self._down: MiraError | None = DependencyError("not_started", "ids are still read from the log", "try again")
        self._broker = broker
        self._transactional_id = transactional_id
        self._topics = topics
        self._blocked_s = blocked_s
        self._now = now
        self._queue: list[_Request] = []
        self._batch: list[_Request] = []
        self._batch_since_s = 0.0
        self._flying: dict[str, asyncio.Future[MiraError | None]] = {}
        self._changed = asyncio.Event()
        self._draining = False
        self._alone = 0
        self._bytes_max: dict[str, int | None] = {}

    @property
    def down(self) -> MiraError | None:
        """Why nothing is taken now: also when the broker owes the answer to a transaction for longer than requests
        wait for it."""
        if self._down is not None or not self._batch:
            return self._down
        owed_s = self._now() - self._batch_since_s
        return _silence(owed_s) if owed_s > self.answer_s else None

    def refused(self, document: Taken) -> DocumentError | None:
        """Why its topic cannot take it, where the broker told its limit."""
        most = self._bytes_max.get(document.topic)
        if most is None or len(document.value) <= most:
            return None
        said = f"{len(document.value)} bytes; the max.message.bytes of {document.topic} is {most}"
        return DocumentError("too_large", said)

    async def put(self, documents: Sequence[Taken], traceparent: bytes) -> list[Outcome]:
        """Take a request whole: its new documents share a transaction, and it is committed when this returns.

        Nothing is taken if there is a conflict among its ids. An id of which a document is under way waits for its
        outcome. Raises ConfigError(record_too_large) if its topic does not take it, any other MiraError if it is not
        known to be in the log: post it again. Nobody waits for longer than `answer_s`: a request that is in no
        transaction by then is taken back, of one that is the log will say.
        """
        time = asyncio.get_running_loop().time
        deadline = time() + self.answer_s
        while flying := {self._flying[one.id] for one in documents if one.id in self._flying}:
            _, waiting = await asyncio.wait(flying, timeout=deadline - time())
            if waiting:
                raise _silence(self.answer_s)
        if self.down is not None:
            raise self.down
        # From here to the queue nothing may wait: between question and entry no other request may have the same id.
        outcomes, new = self._judge(documents)
        if "conflict" in outcomes or not new:
            return outcomes
        done: asyncio.Future[MiraError | None] = asyncio.get_running_loop().create_future()
        self._flying.update(dict.fromkeys((one.id for one in new), done))
        request = _Request(new, traceparent, self._now(), done)
        self._queue.append(request)
        self._changed.set()
        await asyncio.wait({done}, timeout=deadline - time())  # who goes away takes nothing back
        if not done.done():
            error = _silence(self.answer_s)
            if any(one is request for one in self._queue):
                self._queue = [one for one in self._queue if one is not request]
                self._end(request, error)
            raise error
        if (refused := done.result()) is not None:
            raise refused
        return outcomes

    def oldest_s(self) -> float:
        """Since the oldest request came that is not answered; 0 if none waits."""
        waiting = self._batch or self._queue
        return self._now() - waiting[0].since_s if waiting else 0.0

    def drain(self) -> None:
        """Take nothing more; `run` ends when all that was taken is committed."""
        self._draining = True
        self._down = DependencyError("stopping", "the service was told to stop", "post it again, to its successor")
        self._changed.set()

    async def run(self) -> None:
        """Commit until drained. Raises DependencyError(producer_fenced) if another process takes over."""
        reader = await self._broker.reader()
        try:
            remembering = Remembering(reader, self._topics, self.known, self._blocked_s)
            while not (self._draining and not self._queue and not self._batch):
                await self._own(remembering)
        except ProducerFenced:
            error = DependencyError(
                "producer_fenced", "another process took over", "let only one run a project; post it again to that one"
            )
            self._fail(error)
            raise error from None
        except MiraError as error:
            self._fail(error)
            raise
        finally:
            await reader.close()

    async def _own(self, remembering: Remembering) -> None:
        """The life of one producer: until all is drained, or the broker fails it."""
        producer: TransactionalProducer | None = None
        try:
            self._bytes_max = {topic: await self._broker.batch_bytes_max(topic) for topic in self._topics}
            producer = await self._broker.producer(self._transactional_id)
            await remembering.catch_up()
            self._settle_known()
            if not self._draining:
                self._down = None
            await self._commit_all(producer, remembering)
        except (CommitUnknown, TransactionExpired):
            return  # the log will say
        except ConfigError as error:
            if error.code != TOO_LARGE or not self._batch:
                raise
            self._part(error)
        except DependencyError as error:
            self._fail(error)
            if not self._draining:
                await _pause(REOPEN_S)
        finally:
            if producer is not None:
                await producer.close()

    async def _commit_all(self, producer: TransactionalProducer, remembering: Remembering) -> None:
        now = asyncio.get_running_loop().time
        commits, expected, took_s = 0, 0, 0.0
        while True:
            if not self._batch:
                if commits % SETTLE_EVERY == 0:
                    await remembering.settle()
                await self._first()
                await self._gather(expected, took_s / 2)
                self._batch, self._batch_since_s = self._next_batch(), self._now()
            if not self._batch:
                if self._draining:
                    return
                continue  # what waited was taken back
            records = [
                Outgoing(one.topic, one.id.encode(), one.value, headers=(("traceparent", request.traceparent),))
                for request in self._batch
                for one in request.documents
            ]
            begun = now()
            await producer.commit(records, {}, None)
            took_s = now() - begun
            commits += 1
            batch, self._batch = self._batch, []
            expected = len(batch) + len(self._queue)
            for request in batch:
                self._end(request, None)

    async def _first(self) -> None:
        """Wait for a request, or for the order to end."""
        while not self._queue and not self._draining:
            self._changed.clear()
            await self._changed.wait()

    async def _gather(self, requests: int, most_s: float) -> None:
        """Wait for so many: those who came during the last transaction, and those who were answered by it.

        A transaction costs the same round trips for one request as for many. Without this, clients that post one
        request after another fall apart into two halves, each of which waits for the other's transaction. A client that
        is alone waits for nobody, and nobody for longer than `most_s`.
        """
        if requests > self.gather_requests:
            return
        deadline = asyncio.get_running_loop().time() + min(most_s, GATHER_S)
        while not self._draining and len(self._queue) < requests and not self._fills_a_transaction():
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _fills_a_transaction(self) -> bool:
        return sum(len(request.documents) for request in self._queue) >= TRANSACTION_DOCUMENTS

    def _next_batch(self) -> list[_Request]:
        """Whole requests, as many as a transaction holds, at least one."""
        if self._alone and self._queue:
            self._alone -= 1
            return [self._queue.pop(0)]
        batch: list[_Request] = []
        documents = bytes_ = 0
        while self._queue:
            request = self._queue[0]
            documents, bytes_ = documents + len(request.documents), bytes_ + request.bytes
            if batch and (documents > TRANSACTION_DOCUMENTS or bytes_ > TRANSACTION_BYTES):
                break
            batch.append(self._queue.pop(0))
        return batch

    def _judge(self, documents: Sequence[Taken]) -> tuple[list[Outcome], list[Taken]]:
        """One outcome a document, and those that are new."""
        outcomes: list[Outcome] = []
        new: dict[str, Taken] = {}
        for one in documents:
            if (earlier := new.get(one.id)) is not None:
                outcomes.append("duplicate" if earlier.mark == one.mark else "conflict")
                continue
            verdict = self.known.judge(one.id, one.mark)
            if verdict == "new":
                new[one.id] = one
            outcomes.append("accepted" if verdict == "new" else verdict)
        return outcomes, list(new.values())

    def _settle_known(self) -> None:
        """What became of a batch whose commit was not answered: all of it is in the log, or nothing."""
        first = self._batch[0].documents[0] if self._batch else None
        if first is not None and self.known.judge(first.id, first.mark) == "duplicate":
            batch, self._batch = self._batch, []
            for request in batch:
                self._end(request, None)

    def _part(self, error: ConfigError) -> None:
        """A record of the batch is too large for its topic, so nothing of it is in the log: its requests are committed
        one by one, and the one that is refused alone is told so."""
        batch, self._batch = self._batch, []
        if len(batch) == 1:
            self._end(batch[0], error)
        else:
            self._queue[:0] = batch
            self._alone = len(batch)

    def _fail(self, error: MiraError) -> None:
        """Nothing of what waits is in the log, or nobody knows."""
        if not self._draining:
            self._down = error
        waiting, self._batch, self._queue, self._alone = [*self._batch, *self._queue], [], [], 0
        for request in waiting:
            self._end(request, error)

    def _end(self, request: _Request, error: MiraError | None) -> None:
        for one in request.documents:
            del self._flying[one.id]
            if error is None:
                self.known.add(one.id, one.mark)
        request.done.set_result(error)


def _silence(seconds: float) -> DependencyError:
    return DependencyError(
        SILENT,
        f"the broker has not answered a transaction for {seconds:.0f} s",
        "look whether it runs; what it owes goes on by itself when it does",
    )


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)
