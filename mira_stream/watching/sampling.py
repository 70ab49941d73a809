"""Which decided documents go to the teacher, too: half of the share uniformly, half near the threshold. Pure.

Near the threshold is what the two marks could not tell apart: decisions with reason `band`. One draw a document
decides both arms, so that the probability to be in the sample is the sum of the two, exactly:

    uniform = share / 2            near = min(1 - uniform, share / 2 / band), and 0 outside the band

with `band` the share of documents that lies between the marks. The draw is u("watch", origin): the origin is what
a document is, and a source that repeats its ids would otherwise have the same documents judged again and again.
"""

from typing import Final, Literal, NamedTuple

from mira_stream.chance import u
from mira_stream.errors import UsageError
from mira_stream.label_messages import Inclusion
from mira_stream.messages import Decision, Origin

Arm = Literal["uniform", "near"]
BAND: Final = "band"


class Taken(NamedTuple):
    """A decision of the sample: the arm that took it, and with which probabilities it could have been taken."""

    arm: Arm
    inclusion: Inclusion


class Sampling(NamedTuple):
    """`share` of the decided documents goes to the teacher; `band`: the share between the marks (0: none is)."""

    share: float
    band: float

    def of(self, decision: Decision) -> Inclusion:
        """The probabilities of this decision; they depend on nothing that chance has drawn."""
        uniform = self.share / 2
        if decision.reason != BAND or self.band <= 0:
            return Inclusion(uniform=uniform, near=0.0)
        return Inclusion(uniform=uniform, near=min(1.0 - uniform, self.share / 2 / self.band))

    def take(self, decision: Decision) -> Taken | None:
        """None if the document does not go to the teacher."""
        inclusion = self.of(decision)
        drawn = u("watch", origin_name(decision.origin))
        if drawn < inclusion.uniform:
            return Taken("uniform", inclusion)
        return Taken("near", inclusion) if drawn < inclusion.total else None


def sampling(share: float, band: float) -> Sampling:
    """Raises UsageError for a share that is none."""
    if not 0.0 < share <= 1.0:
        raise UsageError("share_invalid", f"--share {share:g} is no share", "give a number above 0, at most 1")
    return Sampling(share, band)


def origin_name(origin: Origin) -> str:
    """`topic/partition/offset`."""
    return f"{origin.topic}/{origin.partition}/{origin.offset}"
