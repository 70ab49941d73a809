"""Near-duplicate clusters: planted copies are found, others are not, and no order matters."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mira_stream.duplicates import clusters, shingles

VOCABULARY = ["".join(random.Random(n).choices(string.ascii_lowercase, k=3 + n % 6)) for n in range(2000)]


def text(seed: int, words: int = 300) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=words)


def similarity(one: str, other: str) -> float:
    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


def changed(words: list[str], edits: int, seed: int) -> str:
    chance, copy = random.Random(seed), list(words)
    for place in chance.sample(range(len(copy)), edits):
        copy[place] = "edited"
    return " ".join(copy)


def test_copies_and_near_copies_are_one_cluster_named_by_its_smallest_id() -> None:
    texts = {f"d{n:03}": " ".join(text(n)) for n in range(100)}
    texts["copy"] = texts["d007"]
    texts["z-near"] = changed(text(7), 3, 1)
    texts["a-near"] = changed(text(9), 3, 2)
    found = clusters(texts)
    assert {name for name, cluster in found.items() if cluster == "copy"} == {"copy", "d007", "z-near"}
    assert found["d009"] == found["a-near"] == "a-near"
    assert len(set(found.values())) == 100


def test_a_chain_hangs_together_and_what_only_resembles_stays_apart() -> None:
    words = text(1)
    links = [" ".join(words[15 * n :] + text(50, 15 * n)) for n in range(6)]
    assert similarity(links[0], links[5]) < 0.7 < similarity(links[0], links[1])
    assert set(clusters({f"l{n}": link for n, link in enumerate(links)}).values()) == {"l0"}
    half = {"a": " ".join(words), "b": " ".join(words[:150] + text(2, 150))}
    assert 0.25 < similarity(*half.values()) < 0.5
    assert clusters(half) == {"a": "a", "b": "b"}


def test_most_pairs_over_the_threshold_are_found_and_few_under_it() -> None:
    texts: dict[str, str] = {}
    over: list[int] = []
    under: list[int] = []
    for n in range(200):
        edits = 3 if n < 100 else 20
        texts[f"p{n}"], texts[f"q{n}"] = " ".join(text(n)), changed(text(n), edits, n)
        measured = similarity(texts[f"p{n}"], texts[f"q{n}"])
        (over if measured > 0.88 else under if measured < 0.65 else []).append(n)
    found = clusters(texts)
    assert len(over) > 90
    assert len(under) > 90
    assert sum(found[f"p{n}"] == found[f"q{n}"] for n in over) >= 0.98 * len(over)
    assert sum(found[f"p{n}"] == found[f"q{n}"] for n in under) == 0


@pytest.mark.parametrize("odd", ["", "   ", "one two", "!!!", "\ud800 lone", "これは日本語の文章です" * 3])
def test_odd_texts_are_clusters_like_others(odd: str) -> None:
    assert clusters({"b": odd, "a": odd, "c": " ".join(text(3))}) == {"a": "a", "b": "a", "c": "c"}


def test_texts_without_spaces_are_compared_by_their_characters() -> None:
    first = "".join(chr(0x4E00 + n * 7 % 900) for n in range(200))
    assert clusters({"a": first, "b": first[:199] + "好"}) == {"a": "a", "b": "a"}
    assert clusters({}) == {}


@given(seed=st.integers(0, 10**6), order=st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_neither_order_nor_repetition_changes_anything(seed: int, order: random.Random) -> None:
    texts = {f"n{n}": changed(text(seed + n % 5, 60), n % 4, n) for n in range(25)}
    names = list(texts)
    order.shuffle(names)
    assert clusters({name: texts[name] for name in names}) == clusters(texts)
