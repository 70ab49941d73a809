"""Rates from a saved run of `mira-stream bench`. Pure."""

from statistics import median
from typing import Any, Final

from msgspec import Struct

from mira_stream.benching.result import Run
from mira_stream.errors import UsageError
from mira_stream.planning.corpus import Corpus
from mira_stream.planning.prompts import Prompts, prompts_in

UNLIKE: Final = 0.1
FAR: Final = 2.0
"""A corpus that is so many times as long as what was measured: attention grows with the square."""


class Rate(Struct, frozen=True, kw_only=True):
    """Of one engine: `documents_per_s` as measured (the median over repetitions, as the run's own result has it), and
    for the corpus. `prompts` are those of the run, `computed_tokens` what is to be computed of one of the corpus',
    `reply_tokens` the run's a document. `prompt_factor`, `reply_factor`: how many times as many tokens the corpus has,
    computed of a prompt and generated a document (null where it generates nothing); `factor`, by which the rate is
    divided, is the greater."""

    group: str
    mode: str
    gpus: int
    measured_documents_per_s: float
    prompts: Prompts
    computed_tokens: float
    reply_tokens: float
    prompt_factor: float
    reply_factor: float | None
    factor: float
    documents_per_s: float
    notes: list[str]


def rate_of(run: Run, corpus: Corpus) -> Rate:
    """Scaled by how many times as many tokens the corpus has, to be computed of a prompt or to be generated, whichever
    is more: a document that is shorter in one of them is not counted as cheaper for it. What the prompts share and the
    prefix cache holds does not grow with the documents. Raises UsageError(plan_run)."""
    if run.kind == "kafka":
        raise _refused("it was taken with a stand-in for the engine", "take one with: mira-stream bench engine")
    group, settings = _only_group(run)
    modes = settings.get("served_modes") or [settings["mode"]]  # runs of before say only what was asked for
    if corpus.mode and [corpus.mode] != modes:
        asked = "" if settings["mode"] in modes else f" ({settings['mode']} was asked for)"
        raise _refused(f"it was judged in mode {' and '.join(modes)}{asked}", f"take one in mode {corpus.mode}")
    documents = _scored(run)
    prompts, reply = prompts_in(run, documents), reply_tokens_of(run)
    if prompts.computed <= 0:
        raise _refused(
            "of its prompts nothing was computed, all came from the prefix cache",
            "take one with more distinct documents",
        )
    if corpus.reply_tokens and not reply:
        raise _refused("it generated nothing", "plan it with --reply-tokens 0, or take one in another mode")
    computed = prompts.computed_of(corpus)
    longer, more = computed / prompts.computed, corpus.reply_tokens / reply if corpus.reply_tokens else None
    factor = longer if more is None else max(longer, more)
    measured = median(turn.documents_per_s for turn in run.turns)
    if not measured:
        raise _refused("in half of its turns no document was scored", "look at their dead letters, then measure again")
    return Rate(
        group=group,
        mode=" and ".join(modes),
        gpus=settings["tensor_parallel_size"] if run.machine.get("gpus") and not _endpoints(run) else 0,
        measured_documents_per_s=measured,
        prompts=prompts,
        computed_tokens=computed,
        reply_tokens=reply,
        prompt_factor=longer,
        reply_factor=more,
        factor=factor,
        documents_per_s=measured / factor,
        notes=[*_notes(run, corpus, prompts, factor, measured, documents), *_lengths_notes(settings, corpus)],
    )


def _lengths_notes(settings: dict[str, Any], corpus: Corpus) -> list[str]:
    """Where the corpus has documents that the run's own project would cut, or would have no room for. A run of before
    may not say its settings."""
    cut, context = settings.get("document_tokens_max"), settings.get("context_tokens_max")
    lengths = corpus.lengths()
    if isinstance(cut, int) and (share := sum(one > cut for one in lengths) / len(lengths)):
        fix = f"--document-tokens-max {cut} plans them cut, as the stream does"
        return [
            f"{share:.0%} of the documents are longer than the {cut:,} tokens that the run's project reads of one"
            f" (document_tokens_max) and are planned whole: {fix}"
        ]
    if isinstance(context, int) and corpus.longest_tokens > context:
        return [
            f"the longest document, prompt and reply are {corpus.longest_tokens:,.0f} tokens; the run's project takes"
            f" {context:,} (context_tokens_max)"
        ]
    return []


def _only_group(run: Run) -> tuple[str, dict[str, Any]]:
    """Its name and settings."""
    groups = run.settings.get("groups")
    if not isinstance(groups, dict) or not all(
        isinstance(one, dict) and {"mode", "tensor_parallel_size"} <= one.keys() for one in groups.values()
    ):
        raise _refused("its settings are not those that a bench saves", "name a file as bench has saved it")
    if len(groups) != 1:
        raise _refused(f"it has {len(groups)} engines side by side", "take one of a single group with --group")
    return next(iter(groups.items()))


def reply_tokens_of(run: Run) -> float:
    """Tokens generated a document, in the mean. Raises UsageError(plan_run)."""
    return sum(turn.generation_tokens for turn in run.turns) / _scored(run)


def _scored(run: Run) -> int:
    documents = sum(turn.scored for turn in run.turns)
    if not documents:
        raise _refused("none of its documents was scored", "look at their dead letters, then measure again")
    return documents


def prefix_tokens_of(run: Run) -> int:
    """With which its prompts begin alike, as far as it says. Raises UsageError(plan_run)."""
    return prompts_in(run, _scored(run)).head


def _notes(run: Run, corpus: Corpus, prompts: Prompts, factor: float, measured: float, documents: int) -> list[str]:
    found = list(run.notes)
    overall = documents / sum(turn.seconds for turn in run.turns)
    if abs(overall / measured - 1) > UNLIKE:
        found.append(
            f"its repetitions differ: {measured:,.2f} documents/s is their median, all documents over all seconds are"
            f" {overall:,.2f}; measure again with more, or on a quieter machine"
        )
    if run.kind == "engine":
        found.append("measured without Kafka; a run of `bench stream` has its cost in it")
    found += filter(None, [_frame_note(corpus, prompts)])
    again = f"mira-stream bench {run.kind} --group {next(iter(run.settings['groups']))}"
    if run.load.get("shape") == "open":
        found.append(
            "its documents came at a given rate, so it says what was asked for, not what the engine holds: plan with a"
            f" run without --rate ({again}), or with --ramp, which finds the highest rate"
        )
    if run.load.get("shape") == "ramp":
        found.append(
            f"it is the highest rate whose p99 stayed under --p99-ms; what the engine does without a limit says {again}"
        )
    if factor > FAR:
        found.append(
            f"{factor:.1f} times the tokens that were measured: attention grows faster; measure with such documents"
        )
    if served := _endpoints(run):
        found.append(
            f"measured of endpoints, {', '.join(served)}: an engine is what answered there, with whatever GPUs it has"
        )
    elif not run.machine.get("gpus"):
        found.append("measured without a GPU: an engine is a machine like that one")
    return found


def _endpoints(run: Run) -> list[str]:
    """Where its engines answered, if they were elsewhere."""
    groups = run.settings["groups"].values()
    return [url for one in groups if one.get("engine") == "openai" for url in one.get("base_urls", [])]


def _frame_note(corpus: Corpus, prompts: Prompts) -> str:
    """What is not known of the part that all prompts share, or what came from the cache beside it."""
    if prompts.frame is not None:
        beside = prompts.cached - prompts.frame.head
        if beside <= 0:
            return ""
        return (
            f"of its documents, too, {beside:,.0f} tokens each came from the prefix cache, as where documents come"
            " twice: those of the corpus are planned as computed whole, which may be far too careful; measure with more"
            " distinct documents"
        )
    unknown = "it does not say with how many tokens all its prompts begin alike"
    if prompts.cached:
        return (
            f"{unknown}: the {prompts.cached:,.0f} a prompt that came from the prefix cache are taken for it. A run"
            " that is taken now says it, of an engine in process"
        )
    if corpus.prefix_tokens:
        return ""
    return f"{unknown}, calibration and template: --prefix-tokens adds them to the documents of the corpus"


def _refused(why: str, fix: str) -> UsageError:
    return UsageError("plan_run", f"this run tells no rate: {why}", fix)
