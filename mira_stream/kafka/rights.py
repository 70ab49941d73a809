"""What our principal may do with topics, groups and transactional ids, as the broker says (KIP-430).

aiokafka's newest Metadata request is too old to ask for rights, and its DescribeGroups 3 reads the answer as version 2:
both are made here.
"""

import asyncio
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

import aiokafka.errors as foreign
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from mira_stream.errors import DependencyError
from mira_stream.kafka.connection import Connection
from mira_stream.kafka.failures import translating
from mira_stream.sections import BrokerSection

UNTOLD: Final = -(2**31)
TRANSACTION: Final = 1
"""A coordinator's type in FindCoordinator."""


class Operation(IntEnum):
    """Of Kafka's ACLs; bit `1 << operation` of what an answer calls authorized operations."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


Operations = frozenset[Operation]
NONE: Final[Operations] = frozenset()


class Rights(NamedTuple):
    """`topics`: of those that are there; a topic, group or id that we may not even see has no operation."""

    cluster: Operations
    topics: dict[str, Operations]
    groups: dict[str, Operations]
    transactional_ids: dict[str, Operations]


async def rights(
    settings: BrokerSection,
    bootstrap_servers: str,
    topics: Sequence[str],
    groups: Sequence[str],
    transactional_ids: Sequence[str],
) -> Rights:
    """Of a transactional id one can only ask whether we may see it (Describe). Raises DependencyError, ConfigError."""
    connection = Connection(settings, bootstrap_servers)
    await connection.reach()
    admin = AIOKafkaAdminClient(**connection.arguments())
    try:
        with translating("asking for rights"):
            await admin.start()
            seen = await _asked(admin, topics)
            of_groups = await asyncio.gather(*(_group(admin, group) for group in groups))
            of_ids = await asyncio.gather(*(_transactional_id(admin, one) for one in transactional_ids))
    finally:
        await admin.close()
    of_topics = {}
    for error, name, _, _, bits in seen.topics:
        if error in (foreign.NoError.errno, foreign.TopicAuthorizationFailedError.errno):
            of_topics[name] = NONE if error else _operations(bits)
    return Rights(
        _operations(seen.cluster_authorized_operations),
        of_topics,
        dict(zip(groups, of_groups, strict=True)),
        dict(zip(transactional_ids, of_ids, strict=True)),
    )


async def _asked(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> Any:
    """Raises DependencyError(rights_unknown): Kafka before 2.3, or what speaks its protocol without rights."""
    fix = "see with kafka-acls.sh --list what the principal may do"
    try:
        seen: Any = await admin._send_request(_Metadata(topics))
    except NotImplementedError:
        raise DependencyError("rights_unknown", "it is too old to be asked for rights", fix) from None
    if UNTOLD in (seen.cluster_authorized_operations, *(row[-1] for row in seen.topics if not row[0])):
        raise DependencyError("rights_unknown", "it does not say what we may do", fix)
    return seen


async def _group(admin: AIOKafkaAdminClient, group: str) -> Operations:
    try:
        coordinator = await admin.find_coordinator(group)
    except foreign.GroupAuthorizationFailedError:
        return NONE
    answer: Any = await admin._send_request(_Groups([group]), coordinator)
    error, *_, bits = answer.groups[0]
    return NONE if error else _operations(bits)


async def _transactional_id(admin: AIOKafkaAdminClient, name: str) -> Operations:
    try:
        await admin.find_coordinator(name, TRANSACTION)
    except foreign.TransactionalIdAuthorizationFailed:
        return NONE
    return frozenset({Operation.DESCRIBE})


def _operations(bits: int) -> Operations:
    return frozenset(one for one in Operation if bits >= 0 and bits & (1 << one))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Metadata(Request[_MetadataRequest]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        return request_struct_class(self._topics, False, True, True)


class _GroupsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _Groups(Request[_GroupsRequest]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, groups: Sequence[str]) -> None:
        self._groups = list(groups)

    def build(self, request_struct_class: type[_GroupsRequest]) -> _GroupsRequest:
        return request_struct_class(self._groups, True)
