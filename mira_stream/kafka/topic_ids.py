"""The id that a broker gives a topic (KIP-516, Kafka 2.8): aiokafka asks for metadata in a version without it."""

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import aiokafka.errors as foreign
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from mira_stream.streaming.limits import unknown_topic

NO_ID: Final = bytes(16)
_TAGS: Final = ("tags", TaggedFields)
_TEXT: Final = CompactString("utf-8")


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(len(NO_ID))


class _Response(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS)),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("cluster_authorized_operations", Int32),
        _TAGS,
    )


class _Request(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _Metadata(Request[_Request]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_Request]) -> _Request:
        return request_struct_class([(NO_ID, topic, {}) for topic in self._topics], False, False, False, {})


async def ids_of(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> Mapping[str, str]:
    """As Kafka's own tools print them; empty from a broker that gives none. Raises DependencyError(topic_missing)."""
    if not topics:
        return {}
    try:
        answer: Any = await admin._send_request(_Metadata(topics))
    except NotImplementedError:
        return dict.fromkeys(topics, "")
    return {topic: _id(code, topic, found) for code, topic, found, *_ in answer.topics}


def _id(code: int, topic: str, found: bytes) -> str:
    error = foreign.for_code(code)
    if error is foreign.UnknownTopicOrPartitionError:
        raise unknown_topic(topic)
    if error is not foreign.NoError:
        raise error(f"topic {topic}")
    return "" if found == NO_ID else base64.urlsafe_b64encode(found).rstrip(b"=").decode()
