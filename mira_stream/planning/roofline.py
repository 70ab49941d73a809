"""Documents a second of one engine by the roofline of its GPUs (Williams et al. 2009). Pure.

FLOP of a document: 2 for each parameter and token that meets it, and attention's own. Bytes: the weights, once a step,
shared by the tokens of that step, and while it generates what it keeps, once a token.

  bound     no engine is faster on these GPUs that writes one token of each sequence a step, has at most `sequences_max`
            sequences and `batch_tokens` tokens in a step, keeps them in the memory that weights leave, and whose tokens
            meet experts independently: all FLOP at the peak, all bytes at the peak, each hidden behind the other,
            prefill and decode in the same steps, what all share read once a step, nothing else done
  planned   prefill, then decode, each by its own roof, at the declared shares of the peaks (`Efficiency`): kernels,
            scheduling, sampling and the traffic between GPUs are in there; as many sequences at once as the memory
            holds whole ones of the mean

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
    """GB of one GPU. `sequences`: of the longest documents at once; `sequences_mean`: of the mean ones; what all share
    is there once. `cache_gb` is before what activations take."""

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
    own = _room(model, engine, corpus)
    lengths = corpus.lengths()
    mean = sum(model.kept_bytes(one + corpus.reply_tokens, engine.gpus) for one in lengths) / len(lengths)
    longest = model.kept_bytes(lengths[-1] + corpus.reply_tokens, engine.gpus)
    return Memory(
        weights_gb=weights / GB,
        cache_gb=left / GB,
        token_bytes=model.token_bytes(engine.gpus),
        state_bytes=model.state_bytes(engine.gpus),
        sequences=max(0, int(own // longest)),
        sequences_mean=max(0, int(own // mean)),
    )


def _room(model: Model, engine: Engine, corpus: Corpus) -> float:
    """Bytes of a GPU that weights and what all sequences share leave to what each keeps of its own."""
    left = engine.gpu.memory_gb * GB * engine.memory_share - model.weights_bytes / engine.gpus
    return left - (model.kept_bytes(corpus.prefix_tokens, engine.gpus) - model.state_bytes(engine.gpus))


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
    at_once = min(engine.sequences_max, engine.batch_tokens, memory(model, engine, corpus).sequences_mean)
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
    least = _bytes_least(model, engine, corpus) / (engine.gpu.bandwidth_gb_per_s * GB)
    return Roofline(
        bound_documents_per_s=1 / max(flop_in + flop_out, least),
        planned_documents_per_s=1 / (prefill + decode),
        prefill_s=prefill,
        decode_s=decode,
        limited_by=max(roofs, key=lambda name: roofs[name]),
    )


def _bytes_least(model: Model, engine: Engine, corpus: Corpus) -> float:
    """Bytes of a GPU that no engine reads fewer of for a document, in the mean. There are as many steps as its tokens
    need, prefilled or generated, and as many as what is generated needs of sequences at once; both may be the same
    steps. What a sequence keeps while it generates is in the memory for that step, so that the mean of all steps is no
    more of them than `most`, the area of what they keep in the room there is; in no step are there more than `peak`,
    of the shortest. Weights that a step reads grow ever more slowly with its tokens: no less than the chord from one
    to `peak`."""
    lengths, steps = corpus.lengths(), max(0.0, corpus.reply_tokens - 1)
    each = (sum(lengths) / len(lengths) + steps) * model.read_bytes(engine.batch_tokens) / engine.batch_tokens
    if not steps:
        return each / engine.gpus
    kept = sum(model.kept_area(one, one + steps, engine.gpus) for one in lengths) / len(lengths)
    room, slots = _room(model, engine, corpus), min(engine.sequences_max, engine.batch_tokens)
    most = min(slots, max(1.0, room * steps / kept))
    peak = max(most, min(slots, room / model.kept_bytes(lengths[0], engine.gpus)))
    first = model.read_bytes(1)
    slope = (model.read_bytes(peak) - first) / (peak - 1) if peak > 1 else 0.0
    weights = max(each, steps * ((first - slope) / most + slope))
    shared = model.token_bytes(engine.gpus) * corpus.prefix_tokens / peak
    return weights / engine.gpus + kept + steps * (shared + model.state_bytes(engine.gpus))


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
