"""Near-duplicate clusters of documents. Pure.

Two documents are near-duplicates if their sets of word shingles agree (Jaccard similarity, estimated by MinHash:
Broder, "On the resemblance and containment of documents", 1997). Candidates come from locality-sensitive hashing,
each is checked against the threshold, and what hangs together is one cluster. Neither the order of the documents
nor a repetition changes anything.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Final
from zlib import crc32

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

SHINGLE_WORDS: Final = 5
PERMUTATIONS: Final = 128
"""The estimate's standard error at a similarity of 0.8 is sqrt(0.8 x 0.2 / 128) = 0.035."""
MISSED_WEIGHT: Final = 0.95
"""Bands are chosen to miss little (a pair at the threshold is a candidate 19 times of 20): candidates are checked."""
SEED: Final = 1
SCHEME: Final = "affine32"
_WORD: Final = re.compile(r"[㐀-鿿぀-ヿ]|\w+|[^\w\s]")
"""A word, a mark, or one character of a script that is written without spaces."""


def clusters(texts: Mapping[str, str], threshold: float = 0.8) -> dict[str, str]:
    """Of each document id, the id of its near-duplicate cluster: the smallest id in it."""
    ids = sorted(texts)
    signatures = _signatures([texts[name] for name in ids])
    parent = list(range(len(ids)))
    for bucket in _buckets(signatures, threshold):
        if len({_root(parent, place) for place in bucket}) > 1:
            _join(signatures, bucket, threshold, parent)
    return {name: ids[_root(parent, place)] for place, name in enumerate(ids)}


def shingles(text: str) -> set[bytes]:
    """Every run of SHINGLE_WORDS words, lower-cased; a shorter text is one shingle."""
    words = _WORD.findall(text.lower())
    last = max(1, len(words) - SHINGLE_WORDS + 1)
    return {" ".join(words[start : start + SHINGLE_WORDS]).encode("utf-8", "replace") for start in range(last)}


def _signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """[documents, PERMUTATIONS]: two rows agree in about as many columns as their shingle sets do."""
    sketches = MinHash.generator(map(shingles, texts), num_perm=PERMUTATIONS, seed=SEED, hashfunc=crc32, scheme=SCHEME)
    signatures = np.empty((len(texts), PERMUTATIONS), np.uint32)
    for place, sketch in enumerate(sketches):
        signatures[place] = sketch.hashvalues
    return signatures


def _buckets(signatures: NDArray[np.uint32], threshold: float) -> Iterator[list[int]]:
    """Places of documents that agree in all columns of a band: candidates."""
    bands, width = _bands(threshold)
    for band in range(bands):
        by_key: dict[bytes, list[int]] = {}
        for place, row in enumerate(np.ascontiguousarray(signatures[:, band * width : (band + 1) * width])):
            by_key.setdefault(row.tobytes(), []).append(place)
        yield from (bucket for bucket in by_key.values() if len(bucket) > 1)


@cache
def _bands(threshold: float) -> tuple[int, int]:
    """(How many bands there are, columns of each); sought among all that there can be, which takes its time."""
    found = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=(1 - MISSED_WEIGHT, MISSED_WEIGHT))
    return found.b, found.r


def _join(signatures: NDArray[np.uint32], bucket: list[int], threshold: float, parent: list[int]) -> None:
    """Put what is similar within a bucket under its smallest place, step by step from what was reached last."""
    left = np.array(bucket)
    reached: list[int] = []
    while len(left):
        if not reached:
            reached, left = [int(left[0])], left[1:]
        one = reached.pop()
        similar = (signatures[left] == signatures[one]).mean(1) >= threshold
        for other in left[similar].tolist():
            low, high = sorted((_root(parent, one), _root(parent, other)))
            parent[high] = low
            reached.append(other)
        left = left[~similar]


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place
