"""Expected scores of a reply from the log-probabilities at its score tokens. Pure.

For a score s with probability p(s), given the reply up to it: expected score = sum s p(s) / sum p(s), entropy
= -sum q log q with q = p / sum p, label mass = sum p(s). Tokens that are no score are what the mass lacks.

A score may be one token (` 7/10`), begin one (`7`), or be two (`1`, `0`). Along the reply's own tokens both are
followed to the end; of another token only its text is known. One that is a bare `1` may go on to `10`: if no other
token here says `10`, its probability is shared out as p(2) to p(9), the neighbours of 1 and of 10.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import exp, isnan, log
from typing import Final, NamedTuple

SCORE_TOKENS_MAX: Final = 8
"""A number that is not over after so many tokens is none."""
_LINE: Final = re.compile(r"^[^\S\n]*\[A([0-9]{1,2})\][^\n]*", re.MULTILINE)
_OF_TEN: Final = re.compile(r"(?<![0-9.])([0-9]{1,2}(?:\.[0-9])?)(?=\s*/\s*10(?![0-9]))")
_SCORE: Final = re.compile(r"(10|[0-9](?:\.[0-9])?)(?![0-9.])")
_TEN: Final = 10.0


class TokenLogprobs(NamedTuple):
    """One generated token: its text and log-probability, and those of the most likely others in its place."""

    text: str
    logprob: float
    others: tuple[tuple[str, float], ...] = ()


class Expected(NamedTuple):
    """`score` 0..10, `entropy` in nats, `mass` 0..1 (of what the engine let the student say)."""

    score: float
    entropy: float
    mass: float


def expected_scores(
    text: str, tokens: Sequence[TokenLogprobs], scores: Sequence[float | None]
) -> list[Expected | None]:
    """In slot order; None where the reply has no score (`scores`, as they were read) or no probability was given.

    `tokens` are those of `text` from its first character on; where they no longer spell it, the rest is None.
    """
    starts = _align(text, tokens)
    found: list[Expected | None] = [None] * len(scores)
    for slot, place in _places(text, scores):
        first = next((at for at, start in enumerate(starts) if start <= place < start + len(tokens[at].text)), None)
        if first is not None and found[slot] is None:
            before = text[starts[first] : place]
            found[slot] = _expected(_masses(tokens[first : first + SCORE_TOKENS_MAX], before))
    return found


def _align(text: str, tokens: Sequence[TokenLogprobs]) -> list[int]:
    """Where each token begins in the text, as far as they spell it."""
    starts, end = [], 0
    for token in tokens:
        if not token.text or not text.startswith(token.text, end):
            break
        starts.append(end)
        end += len(token.text)
    return starts


def _places(text: str, scores: Sequence[float | None]) -> Iterator[tuple[int, int]]:
    """Slot (from 0) and where in the text its score stands."""
    for line in _LINE.finditer(text):
        slot = int(line[1]) - 1
        if not 0 <= slot < len(scores) or scores[slot] is None:
            continue
        for number in _OF_TEN.finditer(text, line.start(), line.end()):
            if float(number[1]) == scores[slot]:
                yield slot, number.start()
                break


def _masses(tokens: Sequence[TokenLogprobs], before: str) -> dict[float, float]:
    """Probability of each score. `before`: what the first token says ahead of the number."""
    masses: defaultdict[float, float] = defaultdict(float)
    typed, reached, ones, has_ten = "", 1.0, 0.0, False
    for token in tokens:
        own = typed + token.text[len(before) :]
        has_ten = has_ten or own.startswith("10")
        for text, logprob in token.others:
            if text == token.text or not text.startswith(before):
                continue
            said, mass = typed + text[len(before) :], reached * _probability(logprob)
            if said == "1":
                ones += mass
            elif (value := _score(said)) is not None:
                masses[value] += mass
                has_ten = has_ten or (not typed and value == _TEN)
        reached *= _probability(token.logprob)
        value = _score(own)
        if value is not None and "/" in own:
            masses[value] += reached
            break
        typed, before = own, ""
    low, high = masses.get(2.0, 0.0), masses.get(9.0, 0.0)
    ten = 0.0 if has_ten or low + high == 0 else high / (low + high)
    masses[1.0] += ones * (1 - ten)
    masses[_TEN] += ones * ten
    return masses


def _score(said: str) -> float | None:
    """The score at the beginning of `said`, if nothing stands behind it but (the beginning of) `/10`."""
    match = _SCORE.match(said)
    if match is None:
        return None
    rest = said[match.end() :].lstrip()
    return float(match[1]) if "/10".startswith(rest) or rest.startswith("/10") else None


def _expected(masses: dict[float, float]) -> Expected | None:
    total = sum(masses.values())
    if total <= 0:
        return None
    shares = [(value, mass / total) for value, mass in masses.items() if mass > 0]
    mean = sum(value * share for value, share in shares)
    entropy = -sum(share * log(share) for _, share in shares if share > 0)
    return Expected(min(max(mean, 0.0), _TEN), max(entropy, 0.0), min(total, 1.0))


def _probability(logprob: float) -> float:
    return 0.0 if isnan(logprob) else exp(min(logprob, 0.0))
