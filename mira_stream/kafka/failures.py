"""What aiokafka raises, as errors of ours: the only place that translates.

ProducerFenced       ownership moved on
CommitUnknown        anything unclear while a transaction ends (made by producer.py)
ConfigError          a record no retry will get through
DependencyError      everything else: the broker cannot be reached, refuses, or fails
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import aiokafka.errors as foreign

from mira_stream.cancellation import only_ours
from mira_stream.errors import ConfigError, DependencyError, MiraError, ProducerFenced

FENCED: Final = (foreign.ProducerFenced, foreign.InvalidProducerEpoch)
UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    foreign.NoBrokersAvailable,
    foreign.NodeNotReadyError,
    foreign.KafkaConnectionError,
    foreign.KafkaTimeoutError,
    foreign.KafkaUnavailableError,
    foreign.RequestTimedOutError,
    foreign.CorrelationIdError,
    foreign.BrokerNotAvailableError,
    foreign.StaleMetadata,
    foreign.MetadataEmptyBrokerList,
    foreign.Cancelled,
)
REFUSED: Final = (
    foreign.AuthenticationFailedError,
    foreign.AuthenticationMethodNotSupported,
    foreign.SaslAuthenticationFailed,
    foreign.UnsupportedSaslMechanismError,
    foreign.IllegalSaslStateError,
    foreign.TopicAuthorizationFailedError,
    foreign.GroupAuthorizationFailedError,
    foreign.ClusterAuthorizationFailedError,
    foreign.TransactionalIdAuthorizationFailed,
    foreign.DelegationTokenAuthorizationFailed,
    foreign.SecurityDisabled,
)
TOO_LARGE: Final = (
    foreign.MessageSizeTooLargeError,
    foreign.RecordListTooLargeError,
    foreign.RecordTooLargeError,
)
TOPIC_MISSING: Final = (foreign.UnknownTopicOrPartitionError, foreign.InvalidTopicError)
FOREIGN: Final = (
    foreign.KafkaError,
    foreign.ConsumerStoppedError,
    foreign.IllegalOperation,
    OSError,
    TimeoutError,
)
"""Everything aiokafka raises on purpose; TimeoutError also comes from our own bounds."""

HANDLER_CLOSED: Final = "the handler is closed"
"""uvloop's words for writing to a connection that has just gone: a RuntimeError, and no OSError as of asyncio."""
RETRY_S: Final = 0.1
T = TypeVar("T")


def translated(error: BaseException, doing: str) -> Exception:
    """Our error for one of `FOREIGN` that happened while `doing` something; a fresh object each time."""
    said = f"{doing}: {type(error).__name__} {error}".rstrip()
    if isinstance(error, FENCED):
        return ProducerFenced(said)
    if isinstance(error, REFUSED):
        return DependencyError("broker_refused", said, "check [broker] security settings and the principal's rights")
    if isinstance(error, TOO_LARGE):
        return ConfigError(
            "record_too_large", said, "raise the topic's max.message.bytes or lower [ingest] inline_bytes_max"
        )
    if isinstance(error, TOPIC_MISSING):
        return DependencyError(
            "topic_missing", said, "check [project] prefix; `mira-stream up` creates what is missing"
        )
    if isinstance(error, UNREACHABLE):
        return unreachable(said)
    return DependencyError("broker_failed", said, "look into the broker's log")


def unreachable(cause: str) -> MiraError:
    return DependencyError(
        "broker_unreachable", cause, "start the broker, or correct [broker] bootstrap_servers (--bootstrap-servers)"
    )


@contextmanager
def calling(doing: str) -> Iterator[None]:
    """Around a call of aiokafka: what it lets through and never meant to raise leaves as DependencyError(interrupted)
    or, where a connection was closed under it, as ConnectionResetError, which is among `FOREIGN`."""
    try:
        with only_ours(doing):
            yield
    except RuntimeError as error:
        if HANDLER_CLOSED not in str(error):
            raise
        raise ConnectionResetError(str(error)) from error


@contextmanager
def translating(doing: str) -> Iterator[None]:
    """Everything foreign that is raised inside leaves as ours."""
    try:
        with calling(doing):
            yield
    except FOREIGN as error:
        raise translated(error, doing) from error


async def bounded(doing: str, timeout_s: float, call: Callable[[], Awaitable[T]]) -> T:
    """Await `call()`, again while the broker says it may be tried again, for `timeout_s` in all."""
    last: Exception | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    with calling(doing):
                        return await call()
                except foreign.KafkaError as error:
                    if not error.retriable:
                        raise
                    last = error
                await asyncio.sleep(RETRY_S)
    except FOREIGN as error:
        raise translated(last if isinstance(error, TimeoutError) and last else error, doing) from error
