"""Documents a second of one engine by the roofline of its GPUs (Williams et al. 2009). Pure.

FLOP of a document: 2 for each parameter and token that meets it, and attention's own. Bytes: the weights, once a step,
shared by the tokens of that step (prefill: `batch_tokens`; decode: one of each sequence that fits), and while it
generates what it keeps, once a token.

  bound     no engine with as many sequences at once, which writes one token of each a step, is faster on these GPUs:
            all FLOP at the peak, all bytes at the peak, each hidden behind the other, nothing else done
  planned   prefill, then decode, each by its own roof, at the declared shares of the peaks (`Efficiency`): kernels,
            scheduling, sampling and the traffic between GPUs are in there

Neither is a measurement. The shares are assumptions; `mira-stream bench engine` on one such GPU replaces them.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

from mira_stream.errors import UsageError
from mira_stream.planning.corpus import Corpus
from mira_stream.planning.gpus import GB, Gpu
from mira_stream.planning.model import Model

TERA: Final = 10**12
SPLITS: Final = (1, 2, 4, 8)
"""GPUs that one engine may span by tensor parallelism: those of one machine."""
Share = Annotated[float, Meta(gt=0, le=1)]
Positive = Annotated[int, Meta(gt=0)]


class Efficiency(Struct, frozen=True):
    """Declared shares of the peaks that an engine reaches."""

    compute: Share = 0.4
    bandwidth: Share = 0.6


class Engine(Struct, frozen=True, kw_only=True):
    """One vLLM engine over `gpus` GPUs by tensor parallelism."""

    gpu: Gpu
    gpus: Positive = 1
    memory_share: Share = 0.9
    sequences_max: Positive = 256
    batch_tokens: Positive = 8192


class Memory(Struct, frozen=True, kw_only=True):
    """GB of one GPU. `sequences`: of the longest documents at once; `sequences_mean`: of the mean ones. `cache_gb` is
    before what activations take."""

    weights_gb: float
    cache_gb: float
    token_bytes: int
    state_bytes: int
    sequences: int
    sequences_mean: int

    @property
    def fits(self) -> bool:
        return self.sequences > 0


class Roofline(Struct, frozen=True, kw_only=True):
    """Of one engine. `limited_by`: what takes most of the planned time."""

    bound_documents_per_s: float
    planned_documents_per_s: float
    prefill_s: float
    decode_s: float
    limited_by: str


def memory(model: Model, engine: Engine, corpus: Corpus) -> Memory:
    """What weights leave on each GPU, and how many sequences that holds."""
    weights = model.weights_bytes / engine.gpus
    left = engine.gpu.memory_gb * GB * engine.memory_share - weights
    lengths = corpus.lengths()
    beside = corpus.prefix_tokens + corpus.reply_tokens
    mean = sum(model.kept_bytes(beside + one, engine.gpus) for one in lengths) / len(lengths)
    longest = model.kept_bytes(corpus.longest_tokens, engine.gpus)
    return Memory(
        weights_gb=weights / GB,
        cache_gb=left / GB,
        token_bytes=model.token_bytes(engine.gpus),
        state_bytes=model.state_bytes(engine.gpus),
        sequences=max(0, int(left // longest)),
        sequences_mean=max(0, int(left // mean)),
    )


def checked(model: Model, engine: Engine, corpus: Corpus) -> Engine:
    """This engine, if it can hold the model. Raises UsageError(gpu_small, heads_split)."""
    if model.attention_heads % engine.gpus:
        raise UsageError(
            "heads_split", f"{model.attention_heads} attention heads do not split over {engine.gpus}", "give a divisor"
        )
    if not memory(model, engine, corpus).fits:
        raise _too_small(model, engine, corpus)
    return engine


def smallest(model: Model, engine: Engine, corpus: Corpus) -> Engine:
    """The engine over the fewest GPUs that hold weights and one of the longest sequences: engines side by side share
    no traffic. Raises UsageError(gpu_small)."""
    for gpus in SPLITS:
        tried = replace(engine, gpus=gpus)
        if model.attention_heads % gpus == 0 and memory(model, tried, corpus).fits:
            return tried
    raise _too_small(model, replace(engine, gpus=SPLITS[-1]), corpus)


def context_notes(model: Model, corpus: Corpus) -> list[str]:
    """What is to be said where some documents do not fit the model's context. Raises UsageError(context_short) where
    none does."""
    if model.context_tokens is None:
        return []
    room = model.context_tokens - corpus.prefix_tokens - corpus.reply_tokens
    lengths = corpus.lengths()
    share = sum(length > room for length in lengths) / len(lengths)
    fix = f"--document-tokens-max {int(room)} plans them cut"
    by = f" ({model.context_by})" if model.context_by else ""
    if share == 1:
        raise UsageError(
            "context_short",
            f"{model.name} takes {model.context_tokens:,} tokens{by}, prompt and reply; the shortest documents take"
            f" {corpus.prefix_tokens + lengths[0] + corpus.reply_tokens:,.0f}",
            f"{fix}, as the stream does"
            if room >= 1
            else "plan a model with a longer context, or a shorter prefix and reply",
        )
    if not share:
        return []
    return [
        f"{share:.0%} of the documents are longer than the model's context of {model.context_tokens:,} tokens{by} and"
        f" are planned whole, which no engine reads: {fix}, as the stream does"
    ]


def _too_small(model: Model, engine: Engine, corpus: Corpus) -> UsageError:
    """What to do follows from what is too large: the weights alone, even of all the memory, or a document's cache."""
    weights, each = model.weights_bytes / engine.gpus / GB, engine.gpu.memory_gb
    taken = each * engine.memory_share
    share = f"{taken:,.3g} GB ({engine.memory_share:.0%}) of each of {engine.gpus} x {engine.gpu.name}"
    if weights < taken:
        return UsageError(
            "gpu_small",
            f"{model.name} and {corpus.longest_tokens:,.0f} tokens do not fit {share}",
            "take a GPU with more memory or more GPUs an engine, or cut documents with --document-tokens-max",
        )
    fix = "take a GPU with more memory or more GPUs an engine"
    if weights < each:
        fix = f"give --gpu-memory-utilization over {weights / each:.2f}, or {fix.removeprefix('take ')}"
    return UsageError("gpu_small", f"{weights:,.3g} GB of weights alone do not fit {share}", fix)


def roofline(model: Model, engine: Engine, corpus: Corpus, share: Efficiency) -> Roofline:
    """Needs an engine that holds at least one sequence of the longest documents."""
    at_once = min(engine.sequences_max, memory(model, engine, corpus).sequences_mean)
    lengths = corpus.lengths()
    parts = [_seconds(model, engine, corpus, length, at_once) for length in lengths]
    flop_in, bytes_in, flop_out, bytes_out = (sum(part[n] for part in parts) / len(parts) for n in range(4))
    roofs = {
        "prefill, compute": flop_in / share.compute,
        "prefill, bandwidth": bytes_in / share.bandwidth,
        "decode, compute": flop_out / share.compute,
        "decode, bandwidth": bytes_out / share.bandwidth,
    }
    prefill = max(roofs["prefill, compute"], roofs["prefill, bandwidth"])
    decode = max(roofs["decode, compute"], roofs["decode, bandwidth"])
    return Roofline(
        bound_documents_per_s=1 / max(flop_in + flop_out, bytes_in + bytes_out),
        planned_documents_per_s=1 / (prefill + decode),
        prefill_s=prefill,
        decode_s=decode,
        limited_by=max(roofs, key=lambda name: roofs[name]),
    )


def _seconds(
    model: Model, engine: Engine, corpus: Corpus, length: float, at_once: int
) -> tuple[float, float, float, float]:
    """At the peaks, of one document: FLOP and bytes of its prefill, of its decode. The first token generated comes out
    of the prefill; the last one is never read."""
    flop_per_s = engine.gpus * engine.gpu.bf16_tflops * TERA
    bytes_per_s = engine.gpu.bandwidth_gb_per_s * GB
    first, prompt = corpus.prefix_tokens, corpus.prefix_tokens + length
    steps = max(0, corpus.reply_tokens - 1)
    flop_in = (
        2 * model.body * length + model.attention_flop(first, prompt) + 2 * model.output * min(1, corpus.reply_tokens)
    )
    flop_out = 2 * (model.body + model.output) * steps + model.attention_flop(prompt, prompt + steps)
    bytes_in = length * model.read_bytes(engine.batch_tokens) / engine.batch_tokens / engine.gpus
    kept = model.kept_bytes(prompt + steps / 2, engine.gpus) + model.state_bytes(engine.gpus)  # states are written, too
    bytes_out = steps * (model.read_bytes(at_once) / at_once / engine.gpus + kept)
    return flop_in / flop_per_s, bytes_in / bytes_per_s, flop_out / flop_per_s, bytes_out / bytes_per_s
