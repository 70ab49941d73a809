"""From what the topics say to the outcome of a run. Reads the project's rubrics; writes nothing."""

from collections.abc import Sequence
from typing import Final

from mira_stream.config import Project
from mira_stream.demo.outcome import Agreement, Audited, Counts, GroupStory, Outcome, Seconds
from mira_stream.demo.stream import Moments
from mira_stream.demo.summary import MaskEffect, Source, extremes, mask_effect, summarise
from mira_stream.demo.tally import Tally
from mira_stream.messages import Decision
from mira_stream.reliability.acceptance import served_under
from mira_stream.reliability.table import ModeReliability, load_table
from mira_stream.rubric.anchors import load_rubric

EXTREMES: Final = 5


def conclude(
    project: Project,
    tally: Tally,
    moments: Moments,
    total_s: float,
    audited: Audited,
    agreements: Sequence[Agreement],
    out: str,
) -> Outcome:
    """Everything that is said at the end; `total_s` since the process started."""
    return Outcome(
        counts=Counts(tally.produced, tally.scored.total(), len(tally.decisions), len(tally.dead)),
        sources=summarise(sources_of(project, tally), tally.decisions, tally.dead, tally.epochs),
        stories=[story for group in sorted(project.settings.groups) if (story := _story(project, tally, group))],
        effects=mask_effects(tally),
        agreements=agreements,
        audited=audited,
        seconds=_seconds(moments, total_s),
        out=out,
        dead=tally.dead,
    )


def sources_of(project: Project, tally: Tally) -> list[Source]:
    """The project's sources with the rules that were in force for their last decision."""
    last = {decision.source: decision for decision in tally.decisions}
    found = []
    for name, section in project.settings.sources.items():
        if section.group is None:
            continue
        retention = project.settings.retention
        target = retention.target if section.retention is None else section.retention
        decision = last.get(name)
        rules = None if decision is None else tally.policies.rules(section.group, name, decision.lineage)
        if rules is None:
            found.append(Source(name, section.group, target, retention.unit, None))
        else:
            found.append(Source(name, section.group, rules.target, rules.unit, rules.mask))
    return found


def mask_effects(tally: Tally) -> list[MaskEffect]:
    effects = []
    for name, decisions in sorted(_by_source(tally.decisions).items()):
        rules = tally.policies.rules(decisions[-1].group, name, decisions[-1].lineage)
        if rules is not None:
            effects.append(mask_effect(name, decisions, rules.lens))
    return effects


def reliabilities(project: Project) -> dict[str, ModeReliability]:
    """The reliability tables of the groups that have one, in the mode the group runs in."""
    found = {}
    for group in sorted(project.settings.groups):
        if project.reliability_path(group).is_file():
            table = load_table(project.reliability_path(group))
            mode = served_under(project, group, table).project.settings.groups[group].mode
            if mode in table.modes:
                found[group] = table.modes[mode]
    return found


def _story(project: Project, tally: Tally, group: str) -> GroupStory | None:
    decisions = [decision for decision in tally.decisions if decision.group == group]
    if not decisions:
        return None
    names = load_rubric(project.rubric_path(group)).names
    # The means are the group's: any of its sources' masks holds them.
    rules = tally.policies.rules(group, decisions[-1].source, decisions[-1].lineage)
    means = [0.0] * len(names) if rules is None else rules.mask.means
    best, worst = extremes(decisions, EXTREMES, means, names)
    return GroupStory(group, names, best, worst)


def _seconds(moments: Moments, total_s: float) -> Seconds:
    begin = moments.first_engine_s
    if begin is None:
        begin = moments.first_decision_s
    stream = 0.0 if begin is None or moments.last_settled_s is None else max(0.0, moments.last_settled_s - begin)
    return Seconds(moments.first_decision_s, stream, total_s)


def _by_source(decisions: Sequence[Decision]) -> dict[str, list[Decision]]:
    found: dict[str, list[Decision]] = {}
    for decision in decisions:
        found.setdefault(decision.source, []).append(decision)
    return found
