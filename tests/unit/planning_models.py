"""Models and corpora for the tests of planning."""

from typing import Any

from hypothesis import strategies as st

from mira_stream.planning.corpus import RATIO_MAX, Corpus
from mira_stream.planning.gpus import Gpu
from mira_stream.planning.layers import Layer, layers_of
from mira_stream.planning.model import Model
from mira_stream.planning.roofline import Engine

GPU = Gpu("a GPU", 80, 2000, 300, "made up")
HYBRID: dict[str, Any] = {
    "num_hidden_layers": 4,
    "hidden_size": 256,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "layer_types": ["linear_attention", "linear_attention", "sliding_attention", "full_attention"],
    "sliding_window": 128,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
}


def model(layers: list[Layer] | None = None, parameters: int = 10**9, routed: float = 0.1) -> Model:
    """A mixture of experts with half of its parameters in them."""
    return Model(
        name="made up",
        dtype="bfloat16",
        element_bytes=2,
        layers=layers_of(HYBRID, "bfloat16") if layers is None else layers,
        parameters=parameters,
        weights_bytes=2 * parameters,
        weights_by="the test",
        body=parameters // 3,
        output=parameters // 50,
        attention_heads=8,
        expert_share=0.5,
        routed=routed,
        unread_bytes=parameters // 25,
    )


CORPORA = st.builds(
    lambda documents, mean, ratio, most, prefix, reply: Corpus(
        documents=documents,
        mean_tokens=mean,
        p95_tokens=None if ratio is None else mean * ratio,
        document_tokens_max=most,
        prefix_tokens=prefix,
        reply_tokens=reply,
    ),
    st.integers(1, 10**9),
    st.floats(1, 30_000),
    st.none() | st.floats(1, RATIO_MAX - 1e-9),
    st.none() | st.integers(1, 50_000),
    st.integers(0, 3_000),
    st.integers(0, 3_000),
)
ENGINES = st.builds(
    lambda gpus, sequences, batch: Engine(gpu=GPU, gpus=gpus, sequences_max=sequences, batch_tokens=batch),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 1024),
    st.integers(1, 65_536),
)
