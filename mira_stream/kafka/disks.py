"""DescribeLogDirs (KIP-827, Kafka 3.3), which aiokafka does not have: how full the brokers' disks are."""

from collections.abc import Iterable
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

UNKNOWN: Final = -1
"""What a broker says of a size that it does not know."""


class _Response(Response):  # type: ignore[misc]
    API_KEY = 35
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "results",
            CompactArray(
                ("error_code", Int16),
                ("log_dir", CompactString("utf-8")),
                (
                    "topics",
                    CompactArray(
                        ("name", CompactString("utf-8")),
                        (
                            "partitions",
                            CompactArray(
                                ("partition_index", Int32),
                                ("partition_size", Int64),
                                ("offset_lag", Int64),
                                ("is_future_key", Boolean),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("total_bytes", Int64),
                ("usable_bytes", Int64),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Request(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 35
    API_VERSION = 4
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("tags", TaggedFields),
    )


class DescribeLogDirs(Request[_Request]):  # type: ignore[misc]
    """Of no topic: sizes of the disks alone."""

    API_KEY = 35

    def build(self, request_struct_class: type[_Request]) -> _Request:
        return request_struct_class([], {})


async def disks_free(admin: AIOKafkaAdminClient, brokers: Iterable[int]) -> dict[int, float]:
    """The free share of each broker's fullest disk; without those that do not tell (older, or Describe on the cluster
    is not ours)."""
    found = {}
    for broker in brokers:
        try:
            answer: Any = await admin._send_request_to_node(broker, DescribeLogDirs())
        except (KafkaError, NotImplementedError):
            continue
        shares = [
            usable / total
            for error, _, _, total, usable, _ in answer.results
            if not error and total > 0 and usable > UNKNOWN
        ]
        if shares and not answer.error_code:
            found[broker] = min(shares)
    return found
