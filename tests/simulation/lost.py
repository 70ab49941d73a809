"""Guards of what is deleted, made anew and sent again, taken out one at a time (see mutants.py)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from unittest.mock import patch

from mira_stream.audit.standing import Standing, read_standing
from mira_stream.ingest.there import Missing
from mira_stream.records import TopicPartition
from mira_stream.streaming.outcomes import Outcomes
from mira_stream.streaming.owner import Owner
from producers.files import _Feed
from tests.simulation.network import Network

_read: Final = Outcomes._read


async def _nothing(*_: object) -> None: ...


def id_not_asked_for(network: Network) -> AbstractContextManager[object]:
    return patch.object(Owner, "_check_topic", _nothing)


def ids_not_compared(network: Network) -> AbstractContextManager[object]:
    return patch("mira_stream.streaming.starting.is_of_another_topic", lambda progress, topic_id: False)


def rest_forgotten(network: Network) -> AbstractContextManager[object]:
    return patch("mira_stream.streaming.starting.rest", lambda next_offset, finished: [])


def _audit_without(**fields: object) -> AbstractContextManager[object]:
    async def standing(*arguments: Any) -> Standing:
        return (await read_standing(*arguments))._replace(**fields)  # type: ignore[arg-type]

    return patch("mira_stream.audit.snapshot.read_standing", standing)


def anew_unsaid(network: Network) -> AbstractContextManager[object]:
    return _audit_without(anew={})


def gone_unsaid(network: Network) -> AbstractContextManager[object]:
    return _audit_without(gone={})


def unread_unsaid(network: Network) -> AbstractContextManager[object]:
    return _audit_without(unread={})


def scorer_not_done(network: Network) -> AbstractContextManager[object]:
    """Of what is deleted, a scorer that has not said so may have it in hand."""
    return patch("mira_stream.streaming.outcomes.not_done", lambda *_: "")


def _reads_only(*topics: str) -> AbstractContextManager[object]:
    async def read(self: Outcomes, partitions: Sequence[TopicPartition]) -> None:
        await _read(self, [one for one in partitions if any(topic in one.topic for topic in topics)])

    return patch.object(Outcomes, "_read", read)


def outcomes_not_read(network: Network) -> AbstractContextManager[object]:
    return _reads_only("documents")


def letters_not_read(network: Network) -> AbstractContextManager[object]:
    return _reads_only("documents", "scores")


def topics_not_read(network: Network) -> AbstractContextManager[object]:
    return _reads_only("scores", "dead-letters")


def others_not_fenced(network: Network) -> AbstractContextManager[object]:
    return patch.object(_Feed, "_fence_others", _nothing)


def all_is_there(network: Network) -> AbstractContextManager[object]:
    """What was read of a file is taken for produced."""
    return patch.object(Missing, "takes", lambda self, reading: False)
