"""Data selection with importance resampling (DSIR): documents weighted by how much they look like a target.

Xie, Santurkar, Ma, Liang: Data Selection for Language Models via Importance Resampling, NeurIPS 2023
(arXiv 2302.03169). A document becomes counts of its words and word pairs, hashed into buckets; with p the share of
each bucket in the target texts and q in the raw ones, the log importance weight of counts z is
(log(p + 1e-8) - log(q + 1e-8)) . z.

Buckets, log differences and weights equal those of the authors' package (`data-selection` 1.0, word-punctuation tokens,
one process) to the bit. What is faster: a word or pair is hashed once, not at every place, counting is one numpy call a
document, and the target is a lookup in the same table. Words are found by `regex`, not `re`: nltk does so since 3.10,
and the two differ on combining marks and control characters.
"""

from collections.abc import Iterable
from hashlib import sha256
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

BUCKETS: Final = 10_000
SMOOTHING: Final = 1e-8
RAW_GRAMS_MAX: Final = 100_000 * BUCKETS
"""The share q is taken from the raw texts until they have more n-grams than this, as the authors' `auto` does."""
WORDS_MIN: Final = 100
"""Shorter documents are never selected by the authors' resampling (`min_example_length`)."""
SHORT_WEIGHT: Final = -1e300
"""Their weight where `select` ranks them: behind all others."""
_TOKEN: Final = regex.compile(r"\w+|[^\w\s]+")
_REMEMBERED: Final = 2_000_000


class _Table(dict[str, int]):
    """Text -> bucket; remembers a bounded number of them."""

    def __missing__(self, gram: str) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        bucket = self[gram] = int.from_bytes(sha256(gram.encode()).digest(), "big") % BUCKETS
        return bucket


class _Pairs(dict[tuple[str, str], int]):
    """Two words in a row -> bucket; likewise."""

    def __missing__(self, pair: tuple[str, str]) -> int:
        if len(self) >= _REMEMBERED:
            self.clear()
        bucket = self[pair] = int.from_bytes(sha256(f"{pair[0]} {pair[1]}".encode()).digest(), "big") % BUCKETS
        return bucket


class Featurizer:
    """Texts to bucket counts; owns the table of what was hashed before."""

    def __init__(self) -> None:
        self._words = _Table()
        self._pairs = _Pairs()

    def counts(self, text: str) -> NDArray[np.int64]:
        """int64[10,000]: words and pairs of a text by bucket. Raises UnicodeEncodeError for a lone surrogate."""
        words = _TOKEN.findall(text.lower())
        buckets = list(map(self._words.__getitem__, words))
        buckets += map(self._pairs.__getitem__, pairwise(words))
        return np.bincount(buckets, minlength=BUCKETS) if buckets else np.zeros(BUCKETS, dtype=np.int64)

    def total(self, texts: Iterable[str], grams_max: int | None = None) -> NDArray[np.int64]:
        """The sum over texts, up to the text with which it passes `grams_max`."""
        total = np.zeros(BUCKETS, dtype=np.int64)
        grams = 0
        for text in texts:
            counts = self.counts(text)
            total += counts
            grams += int(counts.sum())
            if grams_max is not None and grams > grams_max:
                break
        return total


class DsirWeights(NamedTuple):
    """Log importance weights, float64[n], and lengths in words, int64[n]."""

    log_weights: NDArray[np.float64]
    words: NDArray[np.int64]


class DsirModel:
    """How much likelier each bucket is in the target than in the raw texts: `log_diff`, float64[10,000]."""

    def __init__(self, log_diff: NDArray[np.float64], featurizer: Featurizer | None = None) -> None:
        self.log_diff = log_diff
        self._featurizer = featurizer or Featurizer()

    @classmethod
    def fit(cls, raw: Iterable[str], target: Iterable[str], raw_grams_max: int | None = RAW_GRAMS_MAX) -> "DsirModel":
        """The model of raw texts and target texts. Raises ValueError if one of them has no word."""
        featurizer = Featurizer()
        raw_counts = featurizer.total(raw, raw_grams_max)
        target_counts = featurizer.total(target)
        if not raw_counts.any() or not target_counts.any():
            raise ValueError("the raw texts, or the target texts, have no word")
        raw_probs = raw_counts / raw_counts.sum()
        target_probs = target_counts / target_counts.sum()
        return cls(np.log(target_probs + SMOOTHING) - np.log(raw_probs + SMOOTHING), featurizer)

    def weights(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """float64[n]: the log importance weight of each text."""
        return self.weights_and_words(texts).log_weights

    def weights_and_words(self, texts: Iterable[str]) -> DsirWeights:
        """Log importance weights, with the lengths that the authors filter by."""
        found: list[float] = []
        words: list[int] = []
        for text in texts:
            counts = self._featurizer.counts(text)
            found.append(float(np.dot(self.log_diff, counts)))
            words.append((int(counts.sum()) + 1) // 2)
        return DsirWeights(np.array(found, dtype=np.float64), np.array(words, dtype=np.int64))


def gumbel(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard Gumbel noise of chances in [0, 1): the largest `log weight + noise` are a sample without replacement
    in proportion to the weights (Gumbel top-k)."""
    inside = np.clip(chances, np.finfo(np.float64).tiny, np.nextafter(1.0, 0.0))
    noise: NDArray[np.float64] = -np.log(-np.log(inside))
    return noise
