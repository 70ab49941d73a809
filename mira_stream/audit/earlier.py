"""What came of the documents of topics that were deleted and made anew since: their offsets are those of others now.

No mark can stand for each, so decisions are compared all at once: how many there are, and the sum of their hashes.
"""

from collections import Counter

from mira_stream.audit.result import Findings
from mira_stream.records import TopicPartition


class Earlier:
    """Counted by partition of the score log. `outcomes`: decisions and dead letters in all. `is_compared`: decisions
    among them are; not once retention has deleted the first of either side."""

    def __init__(self) -> None:
        self.outcomes = 0
        self.is_compared = True
        self._decisions: Counter[tuple[int, str]] = Counter()
        self._hashes: Counter[tuple[int, str]] = Counter()

    def written(self, scores_partition: int, hash_of: int) -> None:
        """A decision that stands in the log, by the hash of its bytes."""
        self._add(scores_partition, "written", hash_of)

    def recomputed(self, scores_partition: int, hash_of: int) -> None:
        """One that the score log says."""
        self._add(scores_partition, "recomputed", hash_of)

    def compare(self, scores: TopicPartition, findings: Findings) -> None:
        """All decisions of a partition of the score log have been told."""
        written, recomputed = (scores.partition, "written"), (scores.partition, "recomputed")
        if self._hashes[written] == self._hashes[recomputed]:
            return
        detail = (
            f"on documents whose topic was made anew since {self._decisions[written]} decisions were written and"
            f" {self._decisions[recomputed]} recomputed, and they are not the same"
        )
        findings.add("earlier_differs", f"{scores.topic}/{scores.partition}", detail)

    def _add(self, scores_partition: int, kind: str, hash_of: int) -> None:
        self._decisions[scores_partition, kind] += 1
        self._hashes[scores_partition, kind] += hash_of
