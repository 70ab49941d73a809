"""Whether a faster mode may judge a source in the place of the slowest one, and what is done where it may not.

A mode is accepted for a source when its selection gain lies at most MARGIN under that of the slowest mode: the lower
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
from itertools import pairwise
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
    """How the sources of a group are judged: `judged` has the settings of each, `fallen` why one is not judged in the
    mode that was asked for. What holds for WHOLE_GROUP holds for sources that were not measured."""

    asked: Project
    group: str
    judged: Mapping[str, GroupSection]
    fallen: Mapping[str, str]

    def section_of(self, source: str) -> GroupSection:
        """The settings that this source is judged with."""
        return self.judged.get(source) or self.judged[WHOLE_GROUP]

    def mode_of(self, source: str) -> Mode:
        return self.section_of(source).mode

    def project_of(self, source: str) -> Project:
        return self.asked.judged_as(self.group, self.section_of(source))

    @property
    def projects(self) -> list[Project]:
        """The project in each of the modes that sources are judged in, the fastest first."""
        section = self.asked.settings.groups[self.group]
        found = [one for one in (section, *section.slower_in_turn) if one in self.judged.values()]
        return [self.asked.judged_as(self.group, one) for one in found]

    @property
    def project(self) -> Project:
        """That of the group's scorer and its engine."""
        return self.projects[0]

    @property
    def said(self) -> list[str]:
        """One line a source that falls back, or one for all."""
        lines = {name: f"judged in mode {self.mode_of(name)}, {why}" for name, why in self.fallen.items()}
        if len(lines) == len(self.judged) and len({*lines.values()}) == 1:
            return [f"all sources: {lines[WHOLE_GROUP]}"]
        return [
            f"{'sources that were not measured' if name == WHOLE_GROUP else f'source {name}'}: {line}"
            for name, line in lines.items()
        ]


def served_modes(project: Project, group: str) -> ServedModes:
    """By the group's reliability table; without one nothing is known and the mode is the one that was asked for, as
    all dimensions count then. Raises ConfigError(reliability_invalid)."""
    path = project.reliability_path(group)
    return served_under(project, group, load_table(path) if path.is_file() else None)


def served_under(project: Project, group: str, table: Table | None) -> ServedModes:
    """The same with the table already read."""
    section = project.settings.groups[group]
    if table is None or section.mode_pinned:
        return ServedModes(project, group, {WHOLE_GROUP: section}, {})
    chain = (section, *section.slower_in_turn)
    parts = [table.modes[one.mode] for one in chain if one.mode in table.modes]
    judged = dict.fromkeys([WHOLE_GROUP, *(name for part in parts for name in part.sources)], section)
    said: dict[str, list[str]] = {}
    for at, slower in pairwise(chain):
        found = {name: _refusal(table, name, at.mode, chain[-1].mode) for name, one in judged.items() if one == at}
        refused = {name: why for name, why in found.items() if why}
        if at.mode == "head" and refused:  # it has an engine of its own: all or none
            because = f"mode head is not accepted for {', '.join(refused)}"
            refused = {name: refused.get(name, because) for name in judged}
        for name, why in refused.items():
            judged[name] = slower
            said.setdefault(name, []).append(why)
    return ServedModes(project, group, judged, {name: "; ".join(said[name]) for name in judged if name in said})


def _refusal(table: Table, name: str, mode: Mode, slowest: Mode) -> str:
    """Why this source is not judged in that mode; empty if it is accepted."""
    measure = f"mira-stream reliability --group {table.group}"
    if mode not in table.modes:
        return f"mode {mode} was not measured: {measure}"
    found = table.modes[mode].of(name).acceptance
    if found is None or found.against != slowest:
        return f"mode {mode} was not compared with {slowest}: {measure}"
    if found.accepted:
        return ""
    if found.n < DOCUMENTS_MIN:
        return f"{found.n} held-out documents do not decide on mode {mode}, {DOCUMENTS_MIN} do"
    lost = "unknown" if found.difference_lo is None else f"{found.difference_lo:+.3f}"
    unread = f" ({found.unread} of {found.n} documents were not read whole)" if found.unread else ""
    return f"the gain of mode {mode} may lie {lost} from that of {slowest}, at most {-MARGIN:g} is allowed{unread}"


def with_acceptance(
    part: ModeReliability,
    rows: Sequence[Measured],
    slower: ModeReliability,
    slower_rows: Sequence[Measured],
    against: Mode,
    terms: Terms,
) -> ModeReliability:
    """`part`, each of its sources with what a comparison with the slowest mode says."""
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
