"""What a model card says of memory beside what config.json says. Pure."""

from msgspec import Struct
from msgspec.structs import replace

from mira_stream.catalog.students import Figures
from mira_stream.planning.corpus import Corpus
from mira_stream.planning.gpus import GB
from mira_stream.planning.model import Model
from mira_stream.planning.roofline import Engine, memory


class Beside(Struct, frozen=True, kw_only=True):
    """Figures of one GPU. `card` as it is written, or what follows from that alone; `whole` with the whole model
    on one GPU, as the card reckons; `split` over all the card's GPUs, as its command serves it."""

    figure: str
    card: float
    whole: float
    split: float


def beside(figures: Figures, model: Model, engine: Engine) -> list[Beside]:
    """`engine`: the card's GPU and share of its memory."""
    corpus = Corpus(documents=1, mean_tokens=figures.sequence_tokens)
    whole, split = (memory(model, replace(engine, gpus=gpus), corpus) for gpus in (1, figures.gpus))
    implied = figures.cache_gb * GB / figures.sequences / figures.sequence_tokens
    return [
        Beside(figure="weights, GB", card=figures.weights_gb, whole=whole.weights_gb, split=split.weights_gb),
        Beside(figure="left for the cache, GB", card=figures.cache_gb, whole=whole.cache_gb, split=split.cache_gb),
        Beside(figure="bytes a token kept", card=implied, whole=whole.token_bytes, split=split.token_bytes),
        Beside(
            figure=f"sequences of {figures.sequence_tokens:,} tokens",
            card=figures.sequences,
            whole=whole.sequences,
            split=split.sequences / figures.gpus,
        ),
    ]
