"""Static members of a consumer group (KIP-345), as far as aiokafka 0.14 leaves them out.

A static member has a name, `group.instance.id`: killed and started again within its session, it takes its partitions
back without a rebalance. aiokafka joins with the name, and misses two things:

  - its heartbeat does not carry the name. A process whose name was taken by another one would hear that it is unknown,
    join again, take the name back, and so on for ever. Ours carries it: the broker says FencedInstanceId.
  - it does not leave the group when it is closed: for the length of the session nobody gets its partitions. Ours leaves
    by name.
"""

from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from mira_stream.errors import DependencyError

log: Final = structlog.get_logger("mira_stream.kafka")

FENCED_INSTANCE_ID: Final = 82


class _HeartbeatResponse(Response):  # type: ignore[misc]
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _Heartbeat_v3(RequestStruct):  # type: ignore[misc]
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _Heartbeat(Request[_Heartbeat_v3]):  # type: ignore[misc]
    API_KEY = 12

    def __init__(self, *fields: Any) -> None:
        self._fields = fields

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(*self._fields)


class _LeaveGroupResponse(Response):  # type: ignore[misc]
    API_KEY = 13
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "members",
            Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")), ("error_code", Int16)),
        ),
    )


class _LeaveGroup_v3(RequestStruct):  # type: ignore[misc]
    API_KEY = 13
    API_VERSION = 3
    RESPONSE_TYPE = _LeaveGroupResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("members", Array(("member_id", String("utf-8")), ("group_instance_id", String("utf-8")))),
    )


class _LeaveGroup(Request[_LeaveGroup_v3]):  # type: ignore[misc]
    API_KEY = 13

    def __init__(self, *fields: Any) -> None:
        self._fields = fields

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(*self._fields)


class StaticMember:
    """Teaches one aiokafka coordinator to be a static member; `is_replaced` once another process has its name."""

    def __init__(self, coordinator: Any, instance_id: str) -> None:
        self.instance_id = instance_id
        self.is_replaced = False
        self._coordinator = coordinator
        self._send = coordinator._send_req
        coordinator._send_req = self._send_req
        coordinator._maybe_leave_group = self._leave

    def check(self) -> None:
        """Raises DependencyError(instance_taken)."""
        if self.is_replaced:
            raise DependencyError(
                "instance_taken",
                f"another process has joined the consumer group as {self.instance_id} and goes on from here",
                "give every process that runs at the same time an --instance of its own",
            )

    async def _send_req(self, request: Any) -> Any:
        coordinator = self._coordinator
        if self.is_replaced:
            raise KafkaError(f"{self.instance_id} belongs to another process")  # it must not join again
        if isinstance(request, HeartbeatRequest):
            request = _Heartbeat(coordinator.group_id, coordinator.generation, coordinator.member_id, self.instance_id)
        response = await self._send(request)
        self.is_replaced |= getattr(response, "error_code", 0) == FENCED_INSTANCE_ID
        return response

    async def _leave(self) -> None:
        """A planned end: the others get the partitions now, not when the session is over."""
        coordinator = self._coordinator
        if coordinator.generation > 0 and not self.is_replaced:
            members = [(coordinator.member_id, self.instance_id)]
            try:
                response = await self._send(_LeaveGroup(coordinator.group_id, members))
            except KafkaError as error:
                log.warning("left without a word", instance=self.instance_id, error=str(error))
            else:
                codes = [response.error_code, *(member[2] for member in response.members)]
                if any(codes):
                    log.warning("the group did not let go", instance=self.instance_id, codes=codes)
        coordinator.reset_generation()
