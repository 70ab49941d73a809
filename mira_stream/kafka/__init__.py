"""The broker's edge: Kafka through aiokafka."""

from mira_stream.kafka.broker import KafkaBroker

__all__ = ["KafkaBroker"]
