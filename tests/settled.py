"""Until what was committed can be seen: Kafka acknowledges a commit first, then it writes the transaction's markers."""

from mira_stream.streaming.ports import Broker


async def settle(broker: Broker, transactional_id: str) -> None:
    """The next owner, who waits for that: whatever was open is aborted, whatever was committed is complete, its records
    can be read and its offsets asked for."""
    await (await broker.producer(transactional_id)).close()
