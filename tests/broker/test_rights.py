"""The doctor at a real Kafka that has ACLs: each right that is taken away is missed, by name."""

import asyncio
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from mira_stream.broker_local import EmbeddedBroker, launch
from mira_stream.broker_local.data_dir import DataDir
from mira_stream.kafka.transactions import Transactions
from mira_stream.sections import BrokerSection
from tests.broker.test_doctor import create, examined
from tests.broker.test_transactions import open_in
from tests.contract.rig import PATIENCE_S

pytestmark = pytest.mark.broker

AUTHORIZER = """
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""
"""Whoever comes is User:ANONYMOUS, the broker itself included. A resource without any ACL is everybody's."""
TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, ALLOW = 3, 3
READ, DESCRIBE, DESCRIBE_CONFIGS = 3, 8, 10


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    write = launch.write_properties

    def with_authorizer(data: DataDir, port: int, controller_port: int) -> None:
        write(data, port, controller_port)
        with data.properties.open("a") as file:
            file.write(AUTHORIZER)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("mira_stream.broker_local.embedded"), "write_properties", with_authorizer)
        broker = EmbeddedBroker(tmp_path_factory.mktemp("guarded"), talk=print)
        yield broker.start().bootstrap_servers
        broker.stop()


async def allow_only(servers: str, *rows: tuple[int, str, str, int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        for kind, name, principal, operation in rows:
            acl = (kind, name, LITERAL, f"User:{principal}", "*", operation, ALLOW)
            answer = await admin._send_to_controller(CreateAclsRequest(*acl))
            assert not any(error for error, _ in answer.creation_responses), answer
            while not (await admin._send_request(DescribeAclsRequest(*acl))).resources:
                pass  # acknowledged before the broker obeys it
    finally:
        await admin.close()


def test_what_is_taken_away_is_missed(
    tmp_path: Path, guarded: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mira.toml").write_text(f'[project]\nprefix = "{prefix}"\n[groups.g]\nfamily = "text"\n')
    names = [f"broker: rights on {what}" for what in ("topics", "groups", "transactions")]

    def seen() -> list[dict[str, str]]:
        """Once the broker tells: a new one first makes the topics of its coordinators."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = examined(tmp_path, guarded, capsys, "--read-only")
            verdicts = [found[name] for name in names]
            if not any(one["status"] in ("skipped", "warn") for one in verdicts):
                return verdicts
        raise AssertionError(f"not told: {verdicts}")

    assert [one["status"] for one in seen()] == ["ok"] * 3, "topics are not there, and can be created"
    asyncio.run(create(tmp_path, guarded))
    assert [one["status"] for one in seen()] == ["ok"] * 3
    rows = [(TOPIC, f"{prefix}.scores", "ANONYMOUS", operation) for operation in (READ, DESCRIBE_CONFIGS)]
    rows += [(GROUP, f"{prefix}.scorer.g", "ANONYMOUS", DESCRIBE)]
    rows += [(TRANSACTIONAL_ID, f"{prefix}.produce.http", "somebody", DESCRIBE)]
    asyncio.run(allow_only(guarded, *rows))
    topics, groups, ids = seen()
    assert [one["status"] for one in (topics, groups, ids)] == ["fail"] * 3
    assert f"{prefix}.scores lacks WRITE" in topics["said"]
    assert f"{prefix}.scorer.g lacks READ" in groups["said"]
    assert f"{prefix}.produce.http lacks DESCRIBE" in ids["said"]
    assert all("kafka-acls.sh" in one["fix"] for one in (topics, groups, ids))


async def test_an_owner_whom_we_may_not_see_is_not_taken_for_none(guarded: str, prefix: str) -> None:
    """The broker leaves such an id out, without an error: its transaction lives all the same."""
    topic, owner = f"{prefix}.progress", f"{prefix}.owner"
    async with open_in(guarded, topic, owner), Transactions(BrokerSection(), guarded) as asked:
        assert list((await asked.examine([topic], 0.0)).values()) == [("under way", owner)]
        await allow_only(guarded, (TRANSACTIONAL_ID, owner, "somebody", DESCRIBE))
        assert list((await asked.examine([topic], 0.0)).values()) == [("not known", "")]
        await allow_only(guarded, (TRANSACTIONAL_ID, owner, "ANONYMOUS", DESCRIBE))
        assert list((await asked.examine([topic], 0.0)).values()) == [("under way", owner)]
