"""A key's partition is the one every Kafka client picks, however many keys are placed together."""

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from mira_stream.streaming.partitioner import TOGETHER_BYTES_MAX, TOGETHER_MIN, partition_of, partitions_of

aiokafka_places = DefaultPartitioner()
FILL = [b"%d" % number for number in range(TOGETHER_MIN)]
"""Keys beside those of an example, so that they are placed together."""


@given(st.lists(st.binary(max_size=70), max_size=20), st.integers(1, 1000))
def test_keys_placed_together_go_where_aiokafka_puts_each(keys: list[bytes], partitions: int) -> None:
    together = [*keys, *FILL]
    expected = [aiokafka_places(key, [*range(partitions)], []) for key in together]
    assert partitions_of(together, partitions) == expected
    assert partitions_of(keys, partitions) == expected[: len(keys)]
    assert [partition_of(key, partitions) for key in keys] == expected[: len(keys)]


@given(st.sampled_from([TOGETHER_BYTES_MAX, TOGETHER_BYTES_MAX + 1]), st.binary(min_size=1, max_size=9))
def test_a_long_key_takes_no_others_elsewhere(length: int, piece: bytes) -> None:
    keys = [(piece * length)[:length], b"", *FILL]
    assert partitions_of(keys, 7) == [partition_of(key, 7) for key in keys]
