"""What a judge sees of a document: the one way from content to view, for the scorer and for all who judge beside it."""

from mira_stream.errors import DocumentError
from mira_stream.messages import Document
from mira_stream.render import Rendered, Tokenize, cut, neutralise, render
from mira_stream.scoring.structure import check_structure
from mira_stream.sections import GroupSection


class UnfitDocument(DocumentError):
    """A document that was read but cannot be shown to the judge."""

    def __init__(self, error: DocumentError, document: Document) -> None:
        super().__init__(error.reason, error.error)
        self.document = document


def view_of(
    document: Document, group: GroupSection, cutoff_tokens: int, tokenize: Tokenize, special_tokens: tuple[str, ...]
) -> Rendered:
    """Rendered, made harmless, and cut to the group's budget. Raises UnfitDocument."""
    try:
        text = neutralise(render(document, group.family), special_tokens)
        check_structure(document, group.family)
        return cut(text, tokenize, cutoff_tokens, group.document_tokens_max, group.too_long)
    except DocumentError as error:
        raise UnfitDocument(error, document) from None
