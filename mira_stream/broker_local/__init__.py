"""The embedded default: Apache Kafka of our own."""

from mira_stream.broker_local.control import Status, status, stop
from mira_stream.broker_local.data_dir import Runtime
from mira_stream.broker_local.embedded import EmbeddedBroker, embedded, living

__all__ = ["EmbeddedBroker", "Runtime", "Status", "embedded", "living", "status", "stop"]
