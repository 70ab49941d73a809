"""What of a prompt is computed and what comes from the prefix cache, of a run and of a corpus planned by it."""

from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from mira_stream.benching.frame import Frame, Frames
from mira_stream.benching.result import Turn, frame_of, prompts_of
from mira_stream.errors import UsageError
from mira_stream.planning.corpus import Corpus
from mira_stream.planning.measured import prefix_tokens_of, rate_of
from tests.unit.test_planning import measured

Prompt = tuple[int, ...]
PROMPTS = st.lists(st.lists(st.integers(0, 2), max_size=8).map(tuple), max_size=8)


def of(*, prompts: int | None = 100, cached: int = 380, frame: Frame | None = None, tokens: int = 700) -> Any:
    """A run of 100 documents a repetition, ten a second: prompts of 700 tokens, of which 320 are computed. Where it
    says the frame, these are a head of 400, a document of 290 and a tail of 10."""
    count = prompts or 100
    turn: Turn = replace(
        measured().turns[0], prompts=prompts, prompt_tokens=count * tokens, cached_tokens=count * cached, frame=frame
    )  # fmt: skip
    return measured(turns=[turn] * 2)


FRAME = Frame(400, 10)


def corpus(mean_tokens: float, prefix_tokens: int) -> Corpus:
    return Corpus(documents=10, mean_tokens=mean_tokens, prefix_tokens=prefix_tokens, reply_tokens=1)


@given(st.lists(st.integers(0, 3), max_size=5).map(tuple), st.lists(st.integers(0, 3), max_size=5).map(tuple), PROMPTS)
def test_a_frame_is_what_all_prompts_begin_and_end_with(head: Prompt, tail: Prompt, inner: list[Prompt]) -> None:
    frames = Frames()
    prompts = [head + document + tail for document in inner]
    for prompt in prompts:
        frames.add(prompt)
        frames.add(())
    if len(set(prompts) - {()}) < 2:
        assert frames.frame is None
        return
    found = frames.frame
    prompts = [prompt for prompt in prompts if prompt]
    assert found is not None
    alike = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False)))
    backwards = [prompt[::-1] for prompt in prompts]
    same = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*backwards, strict=False)))
    least = min(map(len, prompts))
    assert found == Frame(alike, min(same, least - alike))
    assert found.head >= len(head)
    assert found.head + found.tail >= min(least, len(head) + len(tail))


def test_only_what_is_computed_grows_with_the_documents() -> None:
    """Of the head 380 of 400 came from the cache: 20 are computed, and the document, and the tail of 10."""
    run = of(frame=FRAME)
    assert prefix_tokens_of(run) == 400
    long = rate_of(run, corpus(590, 400))
    assert (long.prompts.computed, long.computed_tokens) == (320, 620)
    assert long.factor == long.prompt_factor == 620 / 320
    assert long.documents_per_s == pytest.approx(10 / (620 / 320))
    other = rate_of(run, corpus(290, 800))
    assert other.computed_tokens == pytest.approx(2 * 20 + 290 + 10)
    assert not any("begin alike" in note or "came from" in note for note in long.notes + other.notes)


@given(st.integers(0, 400), st.integers(0, 20), st.integers(1, 1000), st.floats(0, 1))
def test_a_corpus_of_the_runs_own_documents_has_the_measured_rate(
    head: int, tail: int, document: int, hit: float
) -> None:
    run = of(frame=Frame(head, tail), tokens=head + document + tail, cached=int(hit * head))
    found = rate_of(run, corpus(document, prefix_tokens_of(run)))
    assert found.prompt_factor == pytest.approx(1)


def test_without_a_prefix_cache_the_whole_prompt_is_computed() -> None:
    run = of(frame=FRAME, cached=0)
    assert rate_of(run, corpus(590, prefix_tokens_of(run))).computed_tokens == 1000
    assert rate_of(run, corpus(590, prefix_tokens_of(run))).factor == 1000 / 700


def test_of_a_run_that_does_not_say_the_frame_the_cached_tokens_are_taken_for_it_and_that_is_said() -> None:
    run = of(prompts=None)
    assert prefix_tokens_of(run) == 380
    found = rate_of(run, corpus(640, 380))
    assert (found.prompts.frame, found.computed_tokens, found.factor) == (None, 640, 2)
    assert any("the 380 a prompt that came from the prefix cache are taken for it" in note for note in found.notes)
    nothing = rate_of(of(prompts=None, cached=0), corpus(350, 0))
    assert (nothing.computed_tokens, nothing.prompt_factor) == (350, 0.5)
    assert any("--prefix-tokens adds them" in note for note in nothing.notes)
    given = rate_of(of(prompts=None, cached=0), corpus(350, 400))
    assert (given.computed_tokens, any("--prefix-tokens" in note for note in given.notes)) == (750, False)


def test_documents_that_came_from_the_cache_are_computed_in_the_corpus_and_that_is_said() -> None:
    run = of(frame=FRAME, cached=500)
    found = rate_of(run, corpus(290, 400))
    assert (found.prompts.computed, found.computed_tokens, found.factor) == (200, 300, 1.5)
    assert any("of its documents, too, 100 tokens each" in note for note in found.notes)
    with pytest.raises(UsageError, match="came from the prefix cache"):
        rate_of(of(frame=FRAME, cached=700), corpus(290, 400))


def test_of_a_cascade_a_prompt_is_one_of_either_stage() -> None:
    """Two prompts a document are no longer documents."""
    twice = rate_of(of(prompts=200, frame=FRAME), corpus(590, 400))
    assert (twice.prompts.tokens, twice.factor) == (700, 620 / 320)


def test_turns_that_do_not_all_say_it_say_nothing() -> None:
    one, other = of(frame=FRAME).turns[0], of(frame=Frame(390, 12)).turns[0]
    assert frame_of([one, other]) == Frame(390, 10)
    assert prompts_of([one, other]) == 200
    assert frame_of([one, replace(other, frame=None)]) is None
    assert prompts_of([one, replace(other, prompts=None)]) is None
