"""Whether a faster mode may judge a source in the place of the next slower one, and what is done where it may not.

A mode is accepted for a source when its selection gain lies at most MARGIN under that of the slower mode: the lower
bound (one-sided 90 %) of the difference, from at least DOCUMENTS_MIN held-out documents that the slower mode read
whole. Both gains are shares of the teacher's own at the source's target, its qualities taken under the slower mode's
mask; each mode selects by its own. It is paired: a resample of near-duplicate clusters is the same for both.

A document that the faster mode did not read whole counts against it: it is the last to be selected, as in the stream,
where it would be a dead letter or lack scores. One that the slower mode did not read counts for neither.

With fewer documents nothing is decided, and what is not decided is not accepted: the source is judged in the slower
mode, unless `mode_pinned` of its group says that a person vouches for the mode. Nor is a mode that a table does not
have: whoever edits `mode` behind `reliability` is judged in the slower one until the new one is measured.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final, NamedTuple

from msgspec.structs import replace

from mira_stream.config import Project
from mira_stream.errors import DocumentError
from mira_stream.messages import Mode
from mira_stream.quality import Lens, judge
from mira_stream.reliability.kept import gain_difference
from mira_stream.reliability.measure import DECIMALS, Measured, Terms, lens_of
from mira_stream.reliability.table import WHOLE_GROUP, Acceptance, ModeReliability, Table, load_table
from mira_stream.sections import GroupSection

MARGIN: Final = 0.01
DOCUMENTS_MIN: Final = 500


class ServedModes(NamedTuple):
    """How the sources of a group are judged. `project` is that of the group's scorer; a source in `fallen` (with the
    reason) is judged with `slower`. What holds for WHOLE_GROUP holds for sources that were not measured."""

    project: Project
    group: str
    slower: GroupSection | None
    measured: frozenset[str]
    fallen: Mapping[str, str]

    def section_of(self, source: str) -> GroupSection:
        """The settings that this source is judged with."""
        name = source if source in self.measured else WHOLE_GROUP
        if self.slower is not None and name in self.fallen:
            return self.slower
        return self.project.settings.groups[self.group]

    def mode_of(self, source: str) -> Mode:
        return self.section_of(source).mode

    def project_of(self, source: str) -> Project:
        return self.project.judged_as(self.group, self.section_of(source))

    @property
    def projects(self) -> list[Project]:
        """The project in each of the modes that sources are judged in."""
        falls = self.slower is not None and self.project.settings.groups[self.group] != self.slower and self.fallen
        return [self.project, *([self.project.judged_as(self.group, self.slower)] if falls and self.slower else [])]

    @property
    def said(self) -> list[str]:
        """One line a source that falls back."""
        if self.slower is None:
            return []
        return [f"{self._called(name)}: judged in mode {self.slower.mode}, {why}" for name, why in self.fallen.items()]

    def _called(self, name: str) -> str:
        if name != WHOLE_GROUP:
            return f"source {name}"
        return "sources that were not measured" if self.measured else "all sources"


def served_modes(project: Project, group: str) -> ServedModes:
    """By the group's reliability table; without one nothing is known and the mode is the one that was asked for, as
    all dimensions count then. Raises ConfigError(reliability_invalid)."""
    path = project.reliability_path(group)
    return served_under(project, group, load_table(path) if path.is_file() else None)


def served_under(project: Project, group: str, table: Table | None) -> ServedModes:
    """The same with the table already read."""
    section = project.settings.groups[group]
    slower = section.slower
    if slower is None or table is None or section.mode_pinned:
        return ServedModes(project, group, slower, frozenset(), {})
    part = table.modes.get(section.mode)
    if part is None:
        why = f"mode {section.mode} was not measured: mira-stream reliability --group {group}"
        return ServedModes(project.judged_as(group, slower), group, slower, frozenset(), {WHOLE_GROUP: why})
    sources = {name: source for name, source in part.sources.items() if name != WHOLE_GROUP}
    fallen = {
        name: _why(section.mode, source.acceptance)
        for name, source in part.sources.items()
        if source.acceptance is None or not source.acceptance.accepted
    }
    if (section.mode == "head" and fallen) or set(fallen) == set(part.sources):
        # A head has an engine of its own, and where no source is left nobody needs the faster mode's.
        why = f"mode {section.mode} is not accepted for {', '.join(fallen)}"
        fallen = {name: fallen.get(name, why) for name in part.sources}
        project = project.judged_as(group, slower)
    return ServedModes(project, group, slower, frozenset(sources), fallen)


def _why(mode: Mode, found: Acceptance | None) -> str:
    if found is None:
        return f"mode {mode} was not compared with it: mira-stream reliability"
    if found.n < DOCUMENTS_MIN:
        return f"{found.n} held-out documents do not decide on mode {mode}, {DOCUMENTS_MIN} do"
    lost = "unknown" if found.difference_lo is None else f"{found.difference_lo:+.3f}"
    unread = f" ({found.unread} of {found.n} documents were not read whole)" if found.unread else ""
    return f"the gain of mode {mode} may lie {lost} from it, at most {-MARGIN:g} is allowed{unread}"


def with_acceptance(
    part: ModeReliability,
    rows: Sequence[Measured],
    slower: ModeReliability,
    slower_rows: Sequence[Measured],
    against: Mode,
    terms: Terms,
) -> ModeReliability:
    """`part`, each of its sources with what a comparison with the slower mode says."""
    faster = {(row.source, row.id): row for row in rows}
    pairs = [(faster.get((row.source, row.id)), row) for row in slower_rows]
    sources = {}
    for name, source in part.sources.items():
        own = [pair for pair in pairs if name in (WHOLE_GROUP, pair[1].source)]
        through, slower_through = (lens_of(name, one, terms) for one in (part, slower))
        sources[name] = replace(source, acceptance=_compared(own, through, slower_through, against, terms.target(name)))
    return replace(part, sources=sources)


def _compared(
    pairs: Sequence[tuple[Measured | None, Measured]], through: Lens, slower_through: Lens, against: Mode, target: float
) -> Acceptance:
    """`pairs`: the faster mode's row, None where it did not read the document, and the slower one's."""
    nothing = Acceptance(against=against, n=len(pairs), unread=sum(row is None for row, _ in pairs))
    if not pairs:
        return nothing
    try:
        teacher = [judge(list(row.scores), slower_through).quality for _, row in pairs]
        fast = [-inf if row is None else judge(list(row.student_scores), through).quality for row, _ in pairs]
        slow = [judge(list(row.student_scores), slower_through).quality for _, row in pairs]
    except DocumentError:  # one of them has too few reliable dimensions for a quality
        return nothing
    names, clusters = [row.id for _, row in pairs], [row.cluster or row.id for _, row in pairs]
    found = gain_difference(teacher, fast, slow, names, clusters, target)
    if found is None:
        return nothing
    return replace(
        nothing,
        difference=round(found[0], DECIMALS),
        difference_lo=round(found[1], DECIMALS),
        accepted=len(pairs) >= DOCUMENTS_MIN and found[1] >= -MARGIN,
    )
