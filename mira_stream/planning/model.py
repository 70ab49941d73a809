"""A model as planning sees it: bytes and FLOP of its weights and of what it keeps. Pure.

With tensor parallelism over `gpus` weights and linear-attention states are split evenly, kv heads as far as there are
some to split: with more GPUs than kv heads each GPU holds a whole one, so that they are there more than once.
"""

from math import ceil

from msgspec import Struct

from mira_stream.planning.layers import Layer


class Model(Struct, frozen=True, kw_only=True):
    """`weights_bytes` by `weights_by`, in words. `body`: parameters that every token is multiplied with (of experts,
    those it is routed to), `output` those of the output projection, which only what is generated meets. `expert_share`:
    how much of the weights are experts; `routed`: the share of them that a token meets. `unread_bytes`: of an embedding
    that is no output projection, of which a step reads single rows. `context_tokens`: of the longest sequence it takes,
    None where that is not known; `context_by`: what says so, where it is not config.json."""

    name: str
    dtype: str
    element_bytes: int
    layers: list[Layer]
    parameters: int
    weights_bytes: int
    weights_by: str
    body: int
    output: int
    attention_heads: int
    expert_share: float = 0.0
    routed: float = 1.0
    unread_bytes: int = 0
    context_tokens: int | None = None
    context_by: str = ""

    def token_bytes(self, gpus: int = 1) -> int:
        """What one more token of a long sequence takes on a GPU: layers whose window is full take nothing."""
        return sum(self._kv_bytes(layer, gpus) for layer in self.layers if layer.window is None)

    def state_bytes(self, gpus: int = 1) -> int:
        """What a sequence takes on a GPU however long it is."""
        return sum(ceil(layer.state_bytes / gpus) for layer in self.layers)

    def kept_bytes(self, tokens: float, gpus: int = 1) -> float:
        """What a sequence of `tokens` takes on a GPU."""
        kept = sum(self._kv_bytes(layer, gpus) * layer.kept(tokens) for layer in self.layers)
        return kept + self.state_bytes(gpus)

    def kept_area(self, first: float, last: float, gpus: int = 1) -> float:
        """What a sequence takes on a GPU while it grows from `first` to `last`, summed up over its tokens."""
        kept = sum(self._kv_bytes(layer, gpus) * layer.pairs(first, last) for layer in self.layers)
        return kept + self.state_bytes(gpus) * (last - first)

    def attention_flop(self, first: float, last: float) -> float:
        """Of tokens `first` to `last` of a sequence, beside the weights."""
        return sum(
            layer.pair_flop * layer.pairs(first, last) + layer.token_flop * (last - first) for layer in self.layers
        )

    def read_bytes(self, tokens: float) -> float:
        """Weights that a step with `tokens` tokens reads, on all GPUs together; experts are met independently."""
        met = 1 - float((1 - self.routed) ** max(1.0, tokens))
        return self.weights_bytes * (1 - self.expert_share * (1 - met)) - self.unread_bytes

    def _kv_bytes(self, layer: Layer, gpus: int) -> int:
        return ceil(layer.kv_heads / gpus) * layer.kv_elements * self.element_bytes
