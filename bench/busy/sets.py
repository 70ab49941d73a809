"""Documents of one length and of lengths 1:50, replies of lengths 1:50: cut and drawn under a seed. Pure."""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Final, NamedTuple

import numpy as np

from mira_stream.messages import Document
from mira_stream.scoring.engine import Request

SKEW: Final = 50
EQUAL_CHARACTERS: Final = 1_200
SHORT_CHARACTERS: Final = 90
SHORT_REPLY_TOKENS: Final = 8
LOTS: Final = 9_973
UNIFORM, DOCUMENTS, REPLIES, WAITED = NAMES = (
    "uniform", "documents 1:50", "replies 1:50", "replies 1:50, engine that waits"
)  # fmt: skip


class Asked(NamedTuple):
    """One set. `varied`: replies are as long as their lots, not as the student would have them."""

    name: str
    documents: list[Document]
    varied: bool


def asked(name: str, given: Sequence[Document], count: int) -> Asked:
    """`count` documents cut from the texts of `given`, one behind the other; log-uniform in length where skewed."""
    lots = np.random.default_rng(0).random(count)
    lengths = np.rint(SHORT_CHARACTERS * SKEW**lots) if name == DOCUMENTS else np.full(count, EQUAL_CHARACTERS)
    text = cycle("\n\n".join(one.text or "" for one in given))
    documents = [
        Document(id=f"{name} {at}", source=given[at % len(given)].source, text="".join(islice(text, int(length))))
        for at, length in enumerate(lengths)
    ]
    return Asked(name, documents, name in (REPLIES, WAITED))


def varied(request: Request) -> Request:
    """The request with a reply of 8 to 400 tokens, log-uniform by its seed: a grammar keeps the student from ending."""
    tokens = round(SHORT_REPLY_TOKENS * SKEW ** (request.seed % LOTS / LOTS))
    return request._replace(max_tokens=tokens, regex=f"[a-z ]{{{SHORT_REPLY_TOKENS * SKEW}}}")
