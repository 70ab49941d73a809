"""A corpus by numbers: how many documents, how long, and what is said about each. Pure."""

from math import exp, log, sqrt
from statistics import NormalDist
from typing import Annotated, Final

from msgspec import Meta, Struct

from mira_stream.errors import UsageError

QUANTILES: Final = 100
Z95: Final = 1.6448536269514722
"""The 95th percentile of the standard normal distribution."""
RATIO_MAX: Final = exp(Z95**2 / 2)
"""The most that the 95th percentile of a log-normal distribution can be of its mean."""
Positive = Annotated[int, Meta(gt=0)]
Count = Annotated[int, Meta(ge=0)]


class Corpus(Struct, frozen=True, kw_only=True):
    """`mean_tokens` (and the 95th percentile) of documents, as the student's tokenizer counts them. Documents longer
    than `document_tokens_max` are cut to it. `prefix_tokens`: calibration and template around each document, which all
    share and the prefix cache holds. `reply_tokens`: generated a document, in the mean; 0 for a mode that generates
    nothing."""

    documents: Positive
    mean_tokens: Annotated[float, Meta(gt=0)]
    p95_tokens: float | None = None
    document_tokens_max: Positive | None = None
    prefix_tokens: Count = 0
    reply_tokens: Annotated[float, Meta(ge=0)] = 0
    mode: str = ""

    def lengths(self) -> list[float]:
        """Tokens of documents of equal weight, ascending, as the student reads them: log-normal through mean and 95th
        percentile, else all alike. Raises UsageError(lengths_unlike)."""
        found = [self.mean_tokens]
        if self.p95_tokens is not None:
            sigma = _sigma(self.p95_tokens / self.mean_tokens)
            normal = NormalDist()
            raw = [exp(sigma * normal.inv_cdf((number + 0.5) / QUANTILES)) for number in range(QUANTILES)]
            scale = self.mean_tokens * QUANTILES / sum(raw)
            found = [scale * one for one in raw]
        most = self.document_tokens_max
        return found if most is None else [min(one, most) for one in found]

    @property
    def mean_length(self) -> float:
        """Of `lengths`: after the cut."""
        return sum(self.lengths()) / len(self.lengths())

    @property
    def longest_tokens(self) -> float:
        """Of prompt and reply of the longest of `lengths`."""
        return self.prefix_tokens + self.lengths()[-1] + self.reply_tokens


def _sigma(ratio: float) -> float:
    """The log-normal whose 95th percentile is `ratio` times its mean: the narrower of the two there are."""
    if not 1 <= ratio <= RATIO_MAX:
        raise UsageError(
            "lengths_unlike",
            f"the 95th percentile is {ratio:.2f} times the mean; of a log-normal it is 1 to {RATIO_MAX:.2f} times",
            "plan the long documents and the others as two corpora",
        )
    return Z95 - sqrt(max(0.0, Z95**2 - 2 * log(ratio)))
