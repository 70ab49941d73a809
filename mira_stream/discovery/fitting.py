"""Which documents a judge will not see whole, told before anything is paid for. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from mira_stream.discovery.questions import Cutting
from mira_stream.errors import DocumentError
from mira_stream.render import cut


class Fit(NamedTuple):
    """Of `views` documents looked at: `shortened` to document_tokens_max (or to the training cut-off), `refused` by
    too_long, and `over` the context together with prompt and reply. `longest`: tokens of the longest with both."""

    views: int
    shortened: int
    refused: int
    over: int
    longest: int


def fit(texts: Iterable[str], cutting: Cutting, around_tokens: int | None) -> Fit:
    """How rendered texts fit. `around_tokens`: the prompt without a document, and the reply that a student is to learn;
    None if they are not known yet."""
    settings = cutting.settings
    views = shortened = refused = over = longest = 0
    for text in texts:
        views += 1
        try:
            view = cut(text, cutting.tokenize, cutting.cutoff_tokens, settings.document_tokens_max, settings.too_long)
        except DocumentError:
            refused += 1
            continue
        shortened += view.view != "whole"
        if around_tokens is None:
            continue
        whole = around_tokens + len(cutting.tokenize(view.text))
        over += whole > settings.context_tokens_max
        longest = max(longest, whole)
    return Fit(views, shortened, refused, over, longest)


def said(found: Fit, cutting: Cutting, total: int) -> list[str]:
    """What a person should know before paying; `total`: of how many documents `found` looked at some."""
    settings = cutting.settings
    of = f"of {found.views:,} documents looked at (there are {total:,})" if found.views < total else f"of {total:,}"
    lines = []
    if found.shortened:
        lines.append(
            f"{of}, {found.shortened:,} are longer than document_tokens_max = {settings.document_tokens_max:,} and"
            f" judged by a shortened view ({settings.too_long})"
        )
    if found.refused:
        lines.append(
            f"{of}, {found.refused:,} are longer than document_tokens_max = {settings.document_tokens_max:,} and"
            ' refused: too_long = "reject"; nobody is asked about them'
        )
    if found.over:
        lines.append(
            f"warning: {of}, {found.over:,} exceed context_tokens_max = {settings.context_tokens_max:,} with prompt and"
            f" reply ({found.longest:,} tokens the longest): their labels would be paid for and left out of training;"
            " raise context_tokens_max, or lower document_tokens_max, first"
        )
    return lines or [f"{of}, all fit whole"]
