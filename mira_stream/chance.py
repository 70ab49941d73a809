"""The one source of chance: a hash of the document's id, so that every replay draws the same."""

from hashlib import blake2b
from typing import Literal

Purpose = Literal["tie", "band", "cold", "split", "audit", "seed", "label", "watch", "random", "gumbel", "fold"]

HELDOUT_SHARE = 0.3
"""Documents with u("split", id) below this share are never trained on."""


def u(purpose: Purpose, document_id: str) -> float:
    """A number in [0, 1), uniform over ids and independent between purposes."""
    digest = blake2b(document_id.encode(), digest_size=8, person=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_heldout(document_id: str) -> bool:
    """Whether the document is kept from training (labels' split `heldout`)."""
    return u("split", document_id) < HELDOUT_SHARE
