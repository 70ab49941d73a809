"""The free-form questions about a group's sample: each document rendered, and cut as its judge will see it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from mira_stream.discovery.sampling import Cell, Sampler, digest_of, strata_counts, stratum_of
from mira_stream.errors import DocumentError
from mira_stream.messages import Document
from mira_stream.render import Offsets, Tokenize, cut, render
from mira_stream.rubric.freeform import freeform_messages
from mira_stream.sections import Family, GroupSection
from mira_stream.teaching import Question

CHARACTERS_A_TOKEN: Final = 4
"""What stands in for a tokenizer: a rubric comes before any student, and must not depend on one that comes later."""
CUT_BY: Final = f"characters / {CHARACTERS_A_TOKEN}"
"""How views are cut, in a rubric's provenance."""


class Asked(NamedTuple):
    """A question and the document it is about."""

    question: Question
    document_id: str
    source: str
    stratum: str


class Sample(NamedTuple):
    """Digests of the chosen documents by source and stratum, what was seen, and why others could not be read."""

    chosen: dict[Cell, list[str]]
    seen: dict[Cell, int]
    left_out: dict[str, int]

    @property
    def documents(self) -> int:
        return sum(len(digests) for digests in self.chosen.values())

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Chosen documents by source and stratum."""
        return strata_counts(cell for cell, digests in self.chosen.items() for _ in digests)


class Cutting(NamedTuple):
    """How a view is cut: the group's settings, the training cut-off and a tokenizer."""

    settings: GroupSection
    cutoff_tokens: int
    tokenize: Tokenize


def draw_sample(documents: Iterable[Document], family: Family, wanted: int, seed: int) -> Sample:
    """Read all documents once and choose `wanted` of them; those that cannot be rendered are counted by reason."""
    sampler = Sampler(wanted, seed)
    left_out: dict[str, int] = {}
    for document in documents:
        try:
            sampler.add(document.source, render(document, family))
        except DocumentError as error:
            left_out[error.reason] = left_out.get(error.reason, 0) + 1
    return Sample(sampler.chosen(), sampler.seen, left_out)


def sampled_texts(documents: Iterable[Document], family: Family, sample: Sample) -> Iterator[tuple[Document, str]]:
    """The sample's documents with their rendered texts, in the order of reading; of equal copies the first."""
    missing = {cell: set(digests) for cell, digests in sample.chosen.items()}
    for document in documents:
        try:
            text = render(document, family)
        except DocumentError:
            continue
        wanted = missing.get((document.source, stratum_of(text)))
        if not wanted or (digest := digest_of(text)) not in wanted:
            continue
        wanted.discard(digest)
        yield document, text


def questions(
    texts: Iterable[tuple[Document, str]], group: str, cutting: Cutting, reply_tokens_max: int
) -> Iterator[Asked | tuple[Document, DocumentError]]:
    """A question for each document; (document, why) for one that the group's `too_long` refuses.

    A question's key is `discover/<group>/<source>/<document id>`; of documents with one id, the later ones' texts are
    part of it.
    """
    keys: set[str] = set()
    settings = cutting.settings
    for document, text in texts:
        key = f"discover/{group}/{document.source}/{document.id}"
        if key in keys:
            key = f"{key}#{digest_of(text)[:12]}"
        keys.add(key)
        try:
            view = cut(text, cutting.tokenize, cutting.cutoff_tokens, settings.document_tokens_max, settings.too_long)
        except DocumentError as error:
            yield document, error
            continue
        question = Question(key, freeform_messages(view.text, settings.family), reply_tokens_max)
        yield Asked(question, document.id, document.source, stratum_of(text))


def by_characters(text: str) -> Offsets:
    """Stands in for a tokenizer: every four characters are a token."""
    return [(start, min(start + CHARACTERS_A_TOKEN, len(text))) for start in range(0, len(text), CHARACTERS_A_TOKEN)]


def kept_counts(asked: Iterable[Asked]) -> Mapping[str, dict[str, int]]:
    """Documents by source and stratum of those that were answered."""
    return strata_counts((one.source, one.stratum) for one in asked)
