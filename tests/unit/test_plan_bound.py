"""The roofline's bound: no engine of these steps passes it, one that mixes prefill and decode included."""

from random import Random
from typing import NamedTuple

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.planning.corpus import Corpus
from mira_stream.planning.gpus import GB
from mira_stream.planning.model import Model
from mira_stream.planning.roofline import TERA, Efficiency, Engine, memory, roofline
from tests.unit.planning_models import GPU, model


class Working:
    """A document in an engine that loses no time: `left` of its prompt, then `steps` tokens to write."""

    def __init__(self, length: float, steps: int) -> None:
        self.length = self.left = length
        self.steps, self.written = steps, 0

    @property
    def tokens(self) -> float:
        return self.length + self.written


class Steps(NamedTuple):
    """An engine at the peaks: bytes of a step hide its FLOP or are hidden by them. What is not in a step is out of the
    memory and back for nothing."""

    model: Model
    engine: Engine
    corpus: Corpus
    room: float

    def seconds(self, documents: list[Working]) -> float:
        total, waiting = 0.0, documents
        while waiting:
            total += self.step(waiting)
            waiting = [one for one in waiting if one.left > 0 or one.written < one.steps]
        return total

    def step(self, documents: list[Working]) -> float:
        """One token of each sequence that has its prompt and fits, then as much of prompts as there is room for."""
        gpus, prefix = self.engine.gpus, self.corpus.prefix_tokens
        tokens = flop = kept = 0.0
        writing: list[Working] = []
        for one in documents:
            taken = self.model.kept_bytes(one.tokens + 1, gpus)
            full = len(writing) == min(self.engine.sequences_max, self.engine.batch_tokens) or kept + taken > self.room
            if one.left <= 0 and one.written < one.steps and not full:
                writing.append(one)
                kept += taken
        for one in documents:
            if one.left > 0 and (part := min(one.left, self.engine.batch_tokens - len(writing) - tokens)) > 0:
                done = prefix + one.length - one.left
                flop += 2 * self.model.body * part + self.model.attention_flop(done, done + part)
                one.left, tokens = one.left - part, tokens + part
                flop += 2 * self.model.output * (one.left <= 0 < self.corpus.reply_tokens)
        for one in writing:
            flop += 2 * (self.model.body + self.model.output)
            flop += self.model.attention_flop(prefix + one.tokens, prefix + one.tokens + 1)
            one.written += 1
        states = self.model.state_bytes(gpus) * len(writing)  # written, too
        shared = self.model.token_bytes(gpus) * prefix if writing else 0
        read = self.model.read_bytes(len(writing) + tokens) / gpus + kept + states + shared
        gpu = self.engine.gpu
        return max(flop / (gpus * gpu.bf16_tflops * TERA), read / (gpu.bandwidth_gb_per_s * GB))


@settings(deadline=None, max_examples=25)
@example(6000, None, 2, 0, 2, 4000, 8.0, 1.0, 0)
@example(1200, None, 33, 0, 8, 300, 40.0, 1.0, 0)
@example(300, 2.0, 40, 0, 64, 512, 3.0, 0.1, 1)
@given(
    mean=st.integers(1, 2000), ratio=st.none() | st.floats(1, 3), reply=st.integers(0, 40), prefix=st.integers(0, 2000),
    sequences=st.integers(1, 64), batch=st.integers(300, 4000), held=st.floats(1, 40), routed=st.floats(0.01, 1),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_no_engine_that_mixes_prefill_and_decode_passes_the_bound(
    mean: int, ratio: float | None, reply: int, prefix: int, sequences: int, batch: int, held: float, routed: float,
    seed: int,
) -> None:  # fmt: skip
    p95 = None if ratio is None else mean * ratio
    corpus = Corpus(documents=100, mean_tokens=mean, p95_tokens=p95, prefix_tokens=prefix, reply_tokens=reply)
    made = model(parameters=10**7, routed=routed)
    room = held * made.kept_bytes(mean + reply)
    taken = made.weights_bytes + made.kept_bytes(prefix) - made.state_bytes() + room
    gpu = replace(GPU, memory_gb=taken / GB)
    engine = Engine(gpu=gpu, memory_share=1.0, sequences_max=sequences, batch_tokens=batch)
    assume(memory(made, engine, corpus).fits)
    lengths = corpus.lengths()
    documents = [Working(one, max(0, reply - 1)) for one in lengths * (100 // len(lengths))]
    if seed:
        Random(seed).shuffle(documents)
    seconds = Steps(made, engine, corpus, room).seconds(documents)
    bound = roofline(made, engine, corpus, Efficiency()).bound_documents_per_s
    assert len(documents) / seconds <= bound * (1 + 1e-6)
