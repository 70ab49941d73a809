"""Streams decided as the Selector does, in whole stretches: by full scores, by a cascade, and otherwise."""

import itertools
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.cascade_parts.streams import BARE, SOURCE, Floats, Stream, mask_of
from mira_stream.cascade import Calibration, Pair
from mira_stream.chance import u
from mira_stream.epochs import BAND_SELECTED, correct_target, count_border, is_above, thresholds
from mira_stream.messages import DIMENSIONS, Mark
from mira_stream.quality import lens
from mira_stream.sketch import HALVING_CARDS, Sketch, from_prior

THROUGH: Final = lens(BARE)
BAND: Final = 0.1
HORIZON: Final = 500
LATE_CARDS: Final = 100
"""So many cards pass before a scorer knows of a new epoch."""


class Marks(NamedTuple):
    keep: Mark
    drop: Mark


class Run(NamedTuple):
    """A stream decided, document by document: the quality that counted, whether the full stage was asked, the class
    and whether it was selected; and the thresholds each was decided under (`known`: those its scorer knew of)."""

    qualities: Floats
    sent: NDArray[np.bool_]
    classes: NDArray[np.int64]
    selected: NDArray[np.bool_]
    marks: list[Marks | None]


Choose = Callable[[slice, Marks | None], NDArray[np.bool_]]
"""(documents, the thresholds their scorer knows of) -> which of them the full stage is asked about."""


def run(stream: Stream, choose: Choose) -> Run:
    """As the Selector decides (a test compares them), span by span: thresholds stand still between two borders."""
    cheap, full = stream.cheap[stream.held_out :], stream.full[stream.held_out :]
    count = len(full)
    found = Run(full.copy(), np.ones(count, np.bool_), np.zeros(count, np.int64), np.zeros(count, np.bool_), [])
    prior = mask_of(stream).prior
    sketch, at, kept = from_prior(prior), 0, 0
    while at < count:
        target = correct_target(stream.target, stream.target * at - kept, at, 1.0, HORIZON)
        border = thresholds(sketch, "documents", at, target, BAND)
        cards = next(cards for cards in itertools.count(1) if count_border(at + cards, cards))
        span = slice(at, min(count, at + cards))
        marks = None if border.keep is None or border.drop is None else Marks(border.keep, border.drop)
        for part in _parts(span):
            known = found.marks[part.start - LATE_CARDS] if part.start >= LATE_CARDS else None
            sent = choose(part, known)
            found.sent[part] = sent
            found.qualities[part] = np.where(sent, full[part], cheap[part])
            found.marks.extend([marks] * (part.stop - part.start))
        found.classes[span] = classes(found.qualities[span], span.start, marks)
        found.selected[span] = _selected(found.classes[span], span.start)
        kept += int(found.selected[span].sum())
        _count(sketch, found.qualities, span)
        at = int(span.stop)
    return found


def _parts(span: slice) -> Iterator[slice]:
    """A span in pieces of ten: how finely a scorer's knowledge is followed."""
    for first in range(span.start, span.stop, 10):
        yield slice(first, min(span.stop, first + 10))


def _count(sketch: Sketch, qualities: Floats, span: slice) -> None:
    for at in range(span.start, span.stop):
        sketch.add(round(float(qualities[at]) * 10), 1)
        if (at + 1) % HALVING_CARDS == 0:
            sketch.halve()


def classes(qualities: Floats, first: int, marks: Marks | None) -> NDArray[np.int64]:
    """2 keep, 1 downsample, 0 drop. Simulated streams have a prior, so that thresholds are there from the start."""
    assert marks is not None
    found = np.zeros(len(qualities), np.int64)
    for mark in marks:
        found += qualities > mark.value
        for at in np.flatnonzero(qualities == mark.value):
            found[at] += is_above(mark, float(qualities[at]), f"{SOURCE}-{first + at}")
    return found


def _selected(found: NDArray[np.int64], first: int) -> NDArray[np.bool_]:
    selected: NDArray[np.bool_] = found == 2
    for at in np.flatnonzero(found == 1):
        selected[at] = u("band", f"{SOURCE}-{first + at}") < BAND_SELECTED
    return selected


def full_scoring(stream: Stream) -> Run:
    return run(stream, lambda part, _: np.ones(part.stop - part.start, np.bool_))


def cheap_alone(stream: Stream) -> Run:
    return run(stream, lambda part, _: np.zeros(part.stop - part.start, np.bool_))


def by_lot(stream: Stream, share: float) -> Run:
    """Sends on as many, whichever."""
    return run(stream, lambda part, _: np.array([u("audit", f"{at}") < share for at in range(part.start, part.stop)]))


def calibration(stream: Stream) -> Calibration:
    held_out = range(stream.held_out)
    pairs = [Pair(str(at), _fifteen(float(stream.cheap[at])), _fifteen(float(stream.full[at]))) for at in held_out]
    return Calibration(pairs, THROUGH, {})


def cascade(stream: Stream, known: Calibration, loss: float, confidence: float | None) -> Run:
    widths = dict[Marks, float]()
    cheap = stream.cheap[stream.held_out :]

    def choose(part: slice, marks: Marks | None) -> NDArray[np.bool_]:
        if marks is None:
            return np.ones(part.stop - part.start, np.bool_)
        if marks not in widths:
            widths[marks] = known.half_width(marks.keep, marks.drop, loss, confidence)
        return is_near(cheap[part], marks, widths[marks])

    return run(stream, choose)


def is_near(cheap: Floats, marks: Marks, half_width: float) -> NDArray[np.bool_]:
    """As `cascade.route` has it (a test compares them), of many documents at once."""
    distances = np.minimum(*(np.abs(cheap - mark.value) for mark in marks))
    found: NDArray[np.bool_] = np.round(distances, 1) <= round(half_width, 1)
    return found


def _fifteen(quality: float) -> list[float]:
    """Fifteen scores of that quality."""
    return [quality / 10] * DIMENSIONS
