"""`mira-stream plan`: what a corpus takes, from a measured run or from a model's config.json."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mira_stream.cli.options import JsonOption, given

if TYPE_CHECKING:
    from mira_stream.planning.corpus import Corpus
    from mira_stream.planning.fleet import Wanted
    from mira_stream.planning.roofline import Efficiency, Engine

MOST: Final = 10**12
"""Of documents, tokens and hours: beyond it a number is a slip."""
BY_MODEL: Final = (
    "dtype", "gpu", "tensor_parallel_size", "gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens",
    "compute", "bandwidth",
)  # fmt: skip
"""What a measured run has in its rate already."""


def plan(
    context: typer.Context,
    documents: Annotated[int, typer.Option("--documents", min=1, max=MOST, help="Documents of the corpus.")],
    mean_tokens: Annotated[
        float, typer.Option("--mean-tokens", min=1, max=MOST, help="Their mean length, in tokens of the student.")
    ],
    p95_tokens: Annotated[
        float | None, typer.Option("--p95-tokens", min=1, max=MOST, help="The length that 95 % of them stay under.")
    ] = None,
    document_tokens_max: Annotated[
        int | None, typer.Option("--document-tokens-max", min=1, max=MOST, help="Longer documents are cut to it.")
    ] = None,
    prefix_tokens: Annotated[
        int | None,
        typer.Option(
            "--prefix-tokens",
            min=0,
            max=MOST,
            help="With which all prompts begin: calibration and template. Default: the run's; 0 without one.",
        ),
    ] = None,
    reply_tokens: Annotated[
        int | None, typer.Option("--reply-tokens", min=0, max=MOST, help="Generated a document. Default: the run's.")
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="With --run: the scoring mode; a run of another one is refused.")
    ] = "",
    run: Annotated[
        Path | None, typer.Option("--run", help="Measured rates: a saved run of `bench engine` or `bench stream`.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="A model folder. Default: the base of the released students.")
    ] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="Of weights and cache, if not config.json's.")] = None,
    gpu: Annotated[str, typer.Option("--gpu", help="The GPU, as planning/gpus.json names it.")] = "h200-sxm",
    gpus: Annotated[int | None, typer.Option("--gpus", min=1, max=MOST, help="So many of them. Default: 8.")] = None,
    engines: Annotated[int | None, typer.Option("--engines", min=1, max=MOST, help="Or so many engines.")] = None,
    hours: Annotated[
        float | None, typer.Option("--hours", min=0.001, max=MOST, help="Or as many as are done by then.")
    ] = None,
    tensor_parallel_size: Annotated[
        int,
        typer.Option("--tensor-parallel-size", min=0, max=MOST, help="GPUs an engine (0: the fewest that hold it)."),
    ] = 0,
    gpu_memory_utilization: Annotated[
        float, typer.Option("--gpu-memory-utilization", min=0.01, max=1, help="The share of memory vLLM takes.")
    ] = 0.9,
    max_num_seqs: Annotated[
        int, typer.Option("--max-num-seqs", min=1, max=MOST, help="Sequences at once, at most.")
    ] = 256,
    max_num_batched_tokens: Annotated[
        int, typer.Option("--max-num-batched-tokens", min=1, max=MOST, help="Prompt tokens a step.")
    ] = 8192,
    compute: Annotated[
        float, typer.Option("--compute", min=0.01, max=1, help="Declared: share of the peak FLOP/s that is reached.")
    ] = 0.4,
    bandwidth: Annotated[
        float, typer.Option("--bandwidth", min=0.01, max=1, help="Declared: share of the memory bandwidth.")
    ] = 0.6,
    json: JsonOption = False,
) -> None:
    """Say how many engines, partitions, GPUs and hours a corpus takes.

    With --run from what was measured, scaled by tokens. Else by the roofline of GPU and model: a bound that no engine
    with so many sequences and tokens in a step passes, and an estimate at declared shares of the peaks. Without
    --model the model is the released students' base, and their card's figures stand beside those of its config.json.
    """
    from mira_stream.cli.output import emit
    from mira_stream.planning.corpus import Corpus
    from mira_stream.planning.fleet import Wanted
    from mira_stream.planning.gpus import find_gpu
    from mira_stream.planning.roofline import Efficiency, Engine

    _check(context, mode, by_run=run is not None)
    wanted = Wanted(engines=engines, gpus=gpus, hours=hours)
    corpus = Corpus(
        documents=documents,
        mean_tokens=mean_tokens,
        p95_tokens=p95_tokens,
        document_tokens_max=document_tokens_max,
        prefix_tokens=prefix_tokens or 0,
        reply_tokens=reply_tokens or 0,
        mode=mode,
    )
    if run is not None:
        own = [name for name, value in (("prefix", prefix_tokens), ("reply", reply_tokens)) if value is None]
        found = _by_run(run, corpus, wanted, model, own, show=not json)
    else:
        engine = Engine(
            gpu=find_gpu(gpu),
            gpus=tensor_parallel_size or 1,
            memory_share=gpu_memory_utilization,
            sequences_max=max_num_seqs,
            batch_tokens=max_num_batched_tokens,
        )
        if reply_tokens is None:
            raise _reply_missing()
        fixed = tensor_parallel_size > 0
        found = _by_model(model, dtype, corpus, engine, fixed, Efficiency(compute, bandwidth), wanted, show=not json)
    if json:
        emit(found)


def _check(context: typer.Context, mode: str, *, by_run: bool) -> None:
    """Raises UsageError(plan_ignored, mode_unknown): nothing that is given is without effect."""
    from typing import get_args

    from mira_stream.errors import UsageError
    from mira_stream.messages import Mode

    if mode and mode not in get_args(Mode):
        raise UsageError("mode_unknown", f"there is no mode {mode!r}", f"use one of {', '.join(get_args(Mode))}")
    ignored = given(context, BY_MODEL if by_run else ("mode",))
    if not ignored:
        return
    why = "a measured run has it in its rate" if by_run else "the roofline tells modes apart by --reply-tokens only"
    raise UsageError("plan_ignored", f"{', '.join(ignored)} would be ignored: {why}", "leave it out")


def _by_run(
    path: Path, corpus: "Corpus", wanted: "Wanted", model: str | None, own: list[str], *, show: bool
) -> dict[str, Any]:
    """`own`: of prefix and reply those that are as long in the corpus as in the run."""
    import msgspec

    from mira_stream.benching.saving import load_run
    from mira_stream.cli.plan_tables import show_measured
    from mira_stream.errors import UsageError
    from mira_stream.planning.fleet import engines_for, fleet
    from mira_stream.planning.measured import prefix_tokens_of, rate_of, reply_tokens_of

    if model is not None:
        raise UsageError("plan_both", "--run was measured with a model of its own", "give --run or --model")
    measured = load_run(path)
    if "prefix" in own:
        corpus = msgspec.structs.replace(corpus, prefix_tokens=prefix_tokens_of(measured))
    if "reply" in own:
        corpus = msgspec.structs.replace(corpus, reply_tokens=reply_tokens_of(measured))
    rate = rate_of(measured, corpus)
    count = engines_for(wanted, corpus.documents, rate.documents_per_s, rate.gpus)
    taken = fleet(corpus.documents, rate.documents_per_s, rate.gpus, count)
    if show:
        show_measured(path, corpus, rate, taken)
    return {
        "by": "run", "run": str(path), "corpus": msgspec.to_builtins(corpus), "rate": msgspec.to_builtins(rate),
        "fleet": {**msgspec.to_builtins(taken), "gpu_hours": taken.gpu_hours},
    }  # fmt: skip


def _by_model(
    folder: str | None,
    dtype: str | None,
    corpus: "Corpus",
    engine: "Engine",
    fixed: bool,
    share: "Efficiency",
    wanted: "Wanted",
    *,
    show: bool,
) -> dict[str, Any]:
    import msgspec

    from mira_stream.catalog import load_catalog
    from mira_stream.cli.output import talk
    from mira_stream.cli.plan_tables import show_card, show_roofline
    from mira_stream.planning.card import beside
    from mira_stream.planning.config_file import check_config
    from mira_stream.planning.fleet import engines_for, fleet
    from mira_stream.planning.gpus import find_gpu
    from mira_stream.planning.roofline import checked, context_notes, memory, roofline, smallest

    if folder is not None:
        check_config(Path(folder))
    talk.print("loading transformers, which reads config.json: seconds, on a busy machine a minute")
    from mira_stream.planning.reading import base_model, read_model

    released = load_catalog()
    base = folder is None
    served = released.serving.context_tokens_max
    model = (
        base_model(released.base_layout, released.base_model, served, dtype)
        if folder is None
        else read_model(folder, dtype)
    )
    notes = context_notes(model, corpus)
    engine = checked(model, engine, corpus) if fixed else smallest(model, engine, corpus)
    held, speed = memory(model, engine, corpus), roofline(model, engine, corpus, share)
    count = engines_for(wanted, corpus.documents, speed.planned_documents_per_s, engine.gpus)
    taken = fleet(corpus.documents, speed.planned_documents_per_s, engine.gpus, count)
    least = fleet(corpus.documents, speed.bound_documents_per_s, engine.gpus, count)
    card = msgspec.structs.replace(engine, gpu=find_gpu(released.figures.gpu))
    rows = beside(released.figures, model, card) if base else []
    if show:
        show_roofline(model, engine, corpus, held, speed, share, taken, least, notes)
        if base:
            show_card(released, rows)
    return {
        "by": "roofline", "model": _sizes(model), "corpus": msgspec.to_builtins(corpus),
        "engine": msgspec.to_builtins(engine), "efficiency": msgspec.to_builtins(share),
        "memory": msgspec.to_builtins(held), "roofline": msgspec.to_builtins(speed),
        "fleet": {**msgspec.to_builtins(taken), "gpu_hours": taken.gpu_hours}, "hours_least": least.hours,
        "card": [msgspec.to_builtins(row) for row in rows], "notes": notes,
    }  # fmt: skip


def _sizes(model: Any) -> dict[str, Any]:
    """A model without its layers one by one: how many of each kind."""
    from collections import Counter

    import msgspec

    return {**msgspec.to_builtins(model), "layers": dict(Counter(layer.kind for layer in model.layers))}


def _reply_missing() -> Exception:
    from mira_stream.errors import UsageError

    return UsageError(
        "reply_tokens",
        "how long a reply is decides what it costs",
        "give --reply-tokens (0: a mode that generates nothing), or a measured --run",
    )
