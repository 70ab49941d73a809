"""What an audit found: counts, findings, and the one line that says it all."""

from collections import Counter
from typing import Final

from msgspec import Struct, field

FINDINGS_MAX: Final = 1_000
"""More are counted by code but not kept one by one."""
DIFFERENCES: Final = frozenset(
    {
        "epoch_differs",
        "epoch_missing",
        "epoch_extra",
        "decision_differs",
        "dead_letter_differs",
        "earlier_differs",
        "window_differs",
        "window_missing",
        "window_extra",
        "not_recomputed",
        "policy_not_read",
    }
)
"""Codes that mean: what the aggregator wrote is not what the score log says."""


class Finding(Struct, frozen=True, kw_only=True):
    """Something that must not be. `origin`: topic/partition@offset, or a file."""

    code: str
    origin: str
    detail: str


class Findings:
    """Collects findings; memory stays bounded."""

    def __init__(self) -> None:
        self.by_code: Counter[str] = Counter()
        self.kept: list[Finding] = []

    def add(self, code: str, origin: str, detail: str) -> None:
        self.by_code[code] += 1
        if len(self.kept) < FINDINGS_MAX:
            self.kept.append(Finding(code=code, origin=origin, detail=detail))


class AuditResult(Struct, frozen=True, kw_only=True):
    """Counted by origin, within the retained range of the document topics.

    documents = decisions + dead_letters + waiting + lost - doubled. `waiting`: not yet reached by the committed
    offsets. `dead_letters_at_produce` have no origin and are counted apart.
    `deleted_unread`: offsets before that range, at or behind where the scorer stands, that were deleted without card
    or outcome; documents or markers of transactions.
    `written_off`: such offsets that `score --accept-loss` went on behind, and those of decisions that the exporter's
    did, ever since; no finding. `written_off_rests`: how often a partition was made anew and the rest of the log before
    written off, of which nobody knows what stood there. `written_off_ranges`: topic/partition@first-last, of a rest
    without a last; the newest 100 of each partition.
    `given_up`: decisions whose rows somebody gave up with --accept-loss; no finding.
    `contents_written_off`: rows of kept/ whose content was gone before the export, and that `export --accept-loss` went
    on without; no finding.
    `earlier`: decisions and dead letters of documents whose topic was deleted and made anew since (with `score
    --accept-loss`); decisions are compared with what the score log says all the same, their rows are not. With
    `earlier_not_compared` neither are: retention has deleted the first decisions or cards.
    `windows_waiting`: summed up, and to be corrected for what came late; that is held back for 10 s at most.
    `window_sources_not_compared`: size or grace of their windows changed; compared only up to there, or not at all if
    they began about then.
    """

    ok: bool
    documents: int
    decisions: int
    dead_letters: int
    dead_letters_at_produce: int
    waiting: int
    lost: int
    doubled: int
    selected: int
    cards: int
    epochs_recomputed: int
    decisions_recomputed: int
    dead_letters_recomputed: int
    windows_recomputed: int = 0
    windows_waiting: int = 0
    window_sources_not_compared: int = 0
    different: int
    files: int
    files_listed: int
    scores_rows: int
    kept_rows: int
    not_yet_exported: int
    deleted_unread: int = 0
    written_off: int = 0
    written_off_rests: int = 0
    written_off_ranges: list[str] = field(default_factory=list)
    given_up: int = 0
    contents_written_off: int = 0
    earlier: int = 0
    earlier_not_compared: bool = False
    duplicate_ids: int
    duplicate_id_examples: list[str]
    findings_by_code: dict[str, int]
    findings: list[Finding]

    def line(self) -> str:
        """The audit in one line."""
        waiting = f" + {self.waiting} waiting" if self.waiting else ""
        ended = f"{self.decisions} decisions + {self.dead_letters} dead letters{waiting}"
        if self.dead_letters_at_produce:
            rows = "row" if self.dead_letters_at_produce == 1 else "rows"
            ended += f" (and {self.dead_letters_at_produce} {rows} rejected before they became documents)"
        equal = "all equal" if not self.different else f"{self.different} differ"
        recomputed = f"{self.epochs_recomputed} epochs and {self.decisions_recomputed} decisions"
        if self.windows_recomputed:
            recomputed += f" and {self.windows_recomputed} window summaries"
        if self.windows_waiting:
            recomputed += f" ({self.windows_waiting} to be corrected soon)"
        if self.window_sources_not_compared:
            sources = "source" if self.window_sources_not_compared == 1 else "sources"
            recomputed += (
                f" (windows of {self.window_sources_not_compared} {sources} not past a change of size or grace)"
            )
        if self.not_yet_exported:
            equal += f"; {self.not_yet_exported} decisions not exported yet"
        if self.given_up:
            equal += f"; {self.given_up} decisions whose rows were given up by --accept-loss"
        if self.contents_written_off:
            equal += f"; {self.contents_written_off} kept documents without content, written off by --accept-loss"
        if self.earlier:
            equal += f"; {self.earlier} outcomes of documents whose topic was made anew since"
            equal += ", not compared: the first decisions are deleted" if self.earlier_not_compared else ""
        others = sum(self.findings_by_code.values())
        more = "" if self.ok else f"; {others} findings: {', '.join(sorted(self.findings_by_code))}"
        unread = f", {self.deleted_unread} offsets deleted unread" if self.deleted_unread else ""
        lost = f"{self.lost} lost{self._beside()}"
        return (
            f"audit: {self.documents} documents = {ended}; {lost}, {self.doubled} doubled{unread};"
            f" {recomputed} recomputed, {equal}{more}"
        )

    def _beside(self) -> str:
        """What is lost and was accepted."""
        counted = f"{self.written_off} offsets left unread and written off by --accept-loss" if self.written_off else ""
        times = "log" if self.written_off_rests == 1 else "logs"
        rests = f"the unread rest of {self.written_off_rests} {times} made anew (not known how much)"
        said = " and ".join(filter(None, (counted, rests if self.written_off_rests else "")))
        return f" beside {said}" if said else ""
