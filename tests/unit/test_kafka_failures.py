"""Everything aiokafka can raise leaves the edge as an error of ours."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import ClassVar

import aiokafka.errors as foreign
import pytest
import uvloop

from mira_stream.errors import ConfigError, DependencyError, MiraError, ProducerFenced
from mira_stream.kafka import KafkaBroker
from mira_stream.kafka.connection import Connection, await_brokers
from mira_stream.kafka.failures import FOREIGN, bounded, translated, translating
from mira_stream.records import TopicPartition
from mira_stream.sections import BrokerSection
from mira_stream.streaming.ports import TopicSpec
from tests.contract.rig import Listener

ALL = sorted(
    {
        found
        for _, found in inspect.getmembers(foreign, inspect.isclass)
        if issubclass(found, Exception)
        and found.__module__ == foreign.__name__
        and found is not foreign.BrokerResponseError  # only a base: it cannot even be printed
    },
    key=lambda found: found.__name__,
)


def _made(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)  # some want arguments; what they say does not matter here


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: str(kind.__name__))
def test_every_error_of_aiokafka_is_translated(kind: type[Exception]) -> None:
    with pytest.raises((MiraError, ProducerFenced)) as caught, translating("testing"):
        raise _made(kind)
    assert "testing" in str(caught.value)
    assert kind.__name__ in str(caught.value)


def test_there_are_errors_to_translate() -> None:
    assert len(ALL) > 80


def test_the_way_out_fits_the_cause() -> None:
    def code(error: BaseException) -> str:
        ours = translated(error, "x")
        assert isinstance(ours, MiraError)
        return ours.code

    assert code(ConnectionRefusedError()) == "broker_unreachable"
    assert code(TimeoutError()) == "broker_unreachable"
    assert code(foreign.KafkaConnectionError()) == "broker_unreachable"
    assert code(foreign.SaslAuthenticationFailed()) == "broker_refused"
    assert code(foreign.TopicAuthorizationFailedError("t")) == "broker_refused"
    assert code(foreign.UnknownTopicOrPartitionError()) == "topic_missing"
    assert code(foreign.MessageSizeTooLargeError()) == "record_too_large"
    assert code(foreign.CorruptRecordException()) == "broker_failed"
    assert isinstance(translated(foreign.MessageSizeTooLargeError(), "x"), ConfigError)
    assert isinstance(translated(foreign.InvalidProducerEpoch(), "x"), ProducerFenced)
    assert isinstance(translated(foreign.ProducerFenced(), "x"), ProducerFenced)
    assert issubclass(foreign.KafkaError, FOREIGN)


def test_a_write_to_a_connection_that_uvloop_has_closed_is_an_unreachable_broker() -> None:
    """aiokafka catches an OSError there; uvloop raises a RuntimeError."""

    async def written() -> None:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await asyncio.sleep(0)
        with translating("testing"):
            writer.write(b"anything")

    with pytest.raises(DependencyError, match=r"broker_unreachable: testing: ConnectionReset.*handler is closed"):
        uvloop.run(written())
    with pytest.raises(RuntimeError, match="a bug"), translating("testing"):
        raise RuntimeError("a bug")


async def test_a_call_is_tried_again_while_the_broker_says_so() -> None:
    answers: list[Exception | str] = [foreign.NotCoordinatorForGroupError(), foreign.NodeNotReadyError(), "done"]

    async def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await bounded("asking", 30.0, call) == "done"


async def test_a_call_that_never_succeeds_ends_with_the_last_reason() -> None:
    async def call() -> None:
        raise foreign.NotEnoughReplicasError

    with pytest.raises(DependencyError, match="asking: NotEnoughReplicasError"):
        await bounded("asking", 0.05, call)


async def test_a_refusal_is_not_tried_again() -> None:
    calls = []

    async def call() -> None:
        calls.append(1)
        raise foreign.GroupAuthorizationFailedError("g")

    with pytest.raises(DependencyError, match="broker_refused"):
        await bounded("asking", 30.0, call)
    assert len(calls) == 1


@pytest.mark.parametrize("call", ["producer", "reader", "committed", "consumer", "create_topics"])
async def test_an_unreachable_broker_is_named(call: str) -> None:
    broker = KafkaBroker(BrokerSection(), "127.0.0.1:1")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "producer": lambda: broker.producer("id"),
        "reader": broker.reader,
        "committed": lambda: broker.committed("g", [TopicPartition("t", 0)]),
        "consumer": lambda: broker.consumer("g", ["t"], Listener()),
        "create_topics": lambda: broker.create_topics([TopicSpec("t", 1)], 1),
    }
    with pytest.raises(DependencyError, match=r"broker_unreachable: 127\.0\.0\.1:1.*start the broker"):
        await calls[call]()
    await broker.close()


async def test_an_address_that_is_none() -> None:
    with pytest.raises(ConfigError, match="bootstrap_servers"):
        await Connection(BrokerSection(), "localhost:kafka", {}).reach()


def test_security_needs_its_parts() -> None:
    sasl = BrokerSection(security_protocol="SASL_PLAINTEXT", sasl_username="u", sasl_password_env="SECRET")
    with pytest.raises(ConfigError, match=r"sasl_credentials.*SECRET"):
        Connection(sasl, "localhost:1", {})
    made = Connection(sasl, "localhost:1", {"SECRET": "hunter2"})
    assert made.arguments()["sasl_plain_password"] == "hunter2"
    assert "hunter2" not in repr(made)
    with pytest.raises(ConfigError, match="ssl_cafile"):
        Connection(BrokerSection(security_protocol="SSL", ssl_cafile="nowhere.pem"), "h:1", {})


@pytest.mark.parametrize(
    ("servers", "refused"),
    [("localhost:1", False), ("127.0.0.5:1,[::1]:2", False), ("localhost:1,kafka:2", True), ("10.0.0.1", True)],
)
def test_a_password_goes_to_no_other_machine_unencrypted(servers: str, refused: bool) -> None:
    environment = {"SECRET": "hunter2"}
    open_ = BrokerSection(security_protocol="SASL_PLAINTEXT", sasl_username="u", sasl_password_env="SECRET")
    with pytest.raises(ConfigError, match="password_unencrypted") if refused else nullcontext():
        Connection(open_, servers, environment)
    closed = BrokerSection(security_protocol="SASL_SSL", sasl_username="u", sasl_password_env="SECRET")
    Connection(closed, servers, environment)


async def test_a_client_that_knows_no_broker_waits_for_one() -> None:
    """A broker that has fenced itself answers with an empty list; aiokafka trips over an assertion there."""

    class Client:
        nodes: ClassVar[list[int]] = []

        def get_random_node(self) -> int | None:
            return self.nodes[0] if self.nodes else None

        async def coordinator_lookup(self, kind: object, key: str) -> int:
            node = self.get_random_node()
            assert node is not None
            return node

    client = Client()
    await_brokers(client)
    with pytest.raises(foreign.NodeNotReadyError) as raised:
        await client.coordinator_lookup(None, "id")
    assert raised.value.retriable
    client.nodes.append(1)
    assert await client.coordinator_lookup(None, "id") == 1
