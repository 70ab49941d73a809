"""Runs the pipeline's steps as processes of their own: one that fails, is killed or is stopped costs only itself.

1. corpora of the demo's own sources, 2. groups, 3. for every group discover, label, distill, reliability: up to
`parallel` groups side by side. A step whose outputs belong to its inputs is passed over. Ctrl-C stops what runs and
waits for it: every command keeps what it has paid for or computed, and the next run goes on there; a second Ctrl-C is
passed on, too. A pipeline that is killed takes its steps with it.

A rubric stays until it is removed or `rediscover` asks for another: documents and sources that come later are labelled
with it. Labels that were paid for are void when rubric or prompt is another; they are asked for again only if that was
agreed to.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from mira_stream.config import Project, load_project
from mira_stream.demo.featurejudge.judge import MODEL
from mira_stream.demo.material import MADE
from mira_stream.discovery.templates import write_missing_templates
from mira_stream.errors import ConfigError, MiraError, UsageError
from mira_stream.pipeline.before import (
    Planned,
    check_given,
    check_labels_place,
    explained,
    plan_steps,
    refused,
    void_labels,
)
from mira_stream.pipeline.guarded import guarded
from mira_stream.pipeline.process import StepProcess, failure
from mira_stream.pipeline.record import Record
from mira_stream.pipeline.spent import limits_left
from mira_stream.pipeline.steps import (
    STAGES,
    WORK,
    Pace,
    Stage,
    Step,
    corpus_steps,
    group_steps,
    method_steps,
)
from mira_stream.streaming.service import first_error
from mira_stream.teaching.journal import put_aside

STOP_S: Final = 60.0
"""How long a stopped step may take to keep what it has, beside the answers under way: a checkpoint."""


class View(Protocol):
    """Shows what happens (pipeline/progress.py)."""

    def passed(self, step: Step, why: str) -> None: ...

    def started(self, step: Step, why: str) -> None: ...

    def said(self, step: Step, line: str) -> None: ...

    def ended(self, step: Step, seconds: float, failed: bool) -> None: ...


class Done(NamedTuple):
    """One step's end. `result` is what the command printed as JSON; empty for a step that was passed over."""

    name: str
    status: str
    seconds: float
    result: dict[str, Any]


class Wish(NamedTuple):
    """`until`: the last stage to run; `groups`: these only (all if empty); `cost_max`, `tokens_max`: for all asking,
    that of earlier runs too; `anew`: nothing that is there counts as done; `rediscover`: no rubric does; `agreed`:
    labels that are void may be asked for again (a limit agrees, too)."""

    until: Stage = "reliability"
    groups: Sequence[str] = ()
    parallel: int = 1
    pace: Pace = Pace()
    cost_max: float | None = None
    tokens_max: int | None = None
    anew: bool = False
    rediscover: bool = False
    agreed: bool = False

    @property
    def may_ask_again(self) -> bool:
        return self.agreed or self.cost_max is not None or self.tokens_max is not None


class Pipeline:
    """One run over one project."""

    def __init__(self, root: Path, wish: Wish, view: View) -> None:
        self._root = root.resolve()
        self._wish = wish
        self._view = view
        self._record = Record(self._root / WORK)
        self._environment: dict[str, str] = {}
        self._asked = False
        self.done: list[Done] = []

    async def run(self) -> list[Done]:
        """All steps, each once. Raises the MiraError of the first that fails, after the others were stopped."""
        self._ask_anew()
        self._check()
        self._record.save()
        with guarded() as self._environment:
            try:
                await self._stages()
            except BaseExceptionGroup as errors:
                raise first_error(errors) from None
        return self.done

    async def _stages(self) -> None:
        await self._one_after_another(corpus_steps(self._project(), self._made_here()))
        if self._wants("group"):
            await self._one_after_another(group_steps(self._project()))
        groups = self._groups()
        places = asyncio.Semaphore(self._wish.parallel)
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                tasks.create_task(self._method(group, places))

    def plan(self) -> list[Planned]:
        """All steps, how they stand and why; those of groups that are still to be made as `later`."""
        self._ask_anew()
        project = self._project()
        grouping = [step for step in group_steps(project) if self._wants("group")]
        corpora = corpus_steps(project, self._made_here())
        found = plan_steps(self._record, [*corpora, *grouping])
        made = [path for step in corpora if self._record.state(step) == "due" for path in step.outputs]
        for group in self._groups():
            steps = self._steps(group)
            found += plan_steps(self._record, steps, self._all_steps(group), dict.fromkeys(made, "its corpus"))
        if grouping:
            why = "which groups there will be, `group` or `place` says"
            found += [Planned(f"{stage} of new groups", "later", why) for stage in STAGES[2:] if self._wants(stage)]
        return found

    def void(self) -> list[str]:
        """What was paid for labels that a run would ask for again, and why, group by group."""
        self._ask_anew()
        project = self._project()
        found = (void_labels(project, group, self._record, self._steps(group)) for group in self._groups())
        return [said for said in found if said]

    def _ask_anew(self) -> None:
        """Count as due what is wished anew. Only a run saves that."""
        if self._asked:
            return
        self._asked = True
        if self._wish.anew:
            self._record.begin_anew()
        if self._wish.rediscover:
            steps = [step for group in self._groups() for step in self._steps(group)]
            self._record.want([step for step in steps if step.stage == "discover"])

    def hindered(self) -> list[MiraError]:
        """What would stop a run half-way, besides void labels; group by group, the first of each."""
        self._ask_anew()
        project, found = self._project(), list[MiraError]()
        for group in self._groups():
            try:
                if self._wants("label"):
                    check_labels_place(project, group)
                check_given(project, group, self._record, self._steps(group))
            except ConfigError as error:
                found.append(error)
        return found

    def _steps(self, group: str) -> list[Step]:
        return [step for step in self._all_steps(group) if self._wants(step.stage)]

    def _all_steps(self, group: str) -> list[Step]:
        return method_steps(self._project(), group, self._wish.pace)

    def _check(self) -> None:
        """Whatever would stop the run half-way, before anything is paid for."""
        if errors := self.hindered():
            raise errors[0]
        if (void := self.void()) and not self._wish.may_ask_again:
            raise refused(void)

    def _project(self) -> Project:
        return load_project(self._root)

    def _made_here(self) -> list[str]:
        """Sources of the demo whose documents this machine makes."""
        settings = self._project().settings
        if settings.teacher.model != MODEL:
            return []
        return [name for name in MADE if name in settings.sources]

    def _groups(self) -> list[str]:
        settings = self._project().settings
        used = {section.group for section in settings.sources.values() if section.group}
        unknown = [group for group in self._wish.groups if group not in used]
        if unknown:
            raise UsageError("group_unknown", f"no source is in group {unknown[0]!r}", f"use {', '.join(sorted(used))}")
        return [group for group in settings.groups if group in used and group in (self._wish.groups or used)]

    def _wants(self, stage: Stage) -> bool:
        return STAGES.index(stage) <= STAGES.index(self._wish.until)

    async def _method(self, group: str, places: asyncio.Semaphore) -> None:
        async with places:
            for number, stage in enumerate([step.stage for step in self._steps(group)]):
                if stage == "label":
                    write_missing_templates(self._project(), group)
                # Planned anew: what the step before made (weights in parts) is part of what this one needs.
                await self._step(self._steps(group)[number], self._all_steps(group))

    async def _one_after_another(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await self._step(step)

    async def _step(self, step: Step, all_steps: Sequence[Step] = ()) -> None:
        state, why = self._record.among(step, all_steps)
        if state != "due":
            if state == "given":
                self._record.taken(step)
            self._view.passed(step, explained(step, state, why))
            self.done.append(Done(step.name, "passed", 0.0, {"state": state}))
            return
        self._view.started(step, why)
        started = time.monotonic()
        patience_s = STOP_S + self._project().settings.teacher.request_timeout_s
        process = await self._start(step)
        try:
            result, tail = await process.follow()
        finally:
            await process.stop(patience_s)
        seconds = time.monotonic() - started
        failed = process.exit_code != 0
        self._view.ended(step, seconds, failed)
        if failed:
            raise failure(step, process.exit_code, tail, self._log(step))
        self._record.finished(step)
        self.done.append(Done(step.name, "done", round(seconds, 1), result))

    async def _start(self, step: Step) -> StepProcess:
        self._log(step).parent.mkdir(parents=True, exist_ok=True)
        # Aside first, noted afterwards: killed in between, the next run finds it void again, and nothing to put aside.
        if self._record.is_void(step):
            for path in step.kept:
                if (aside := put_aside(path)) is not None:
                    self._view.said(step, f"made with another rubric or prompt: {path.name} is kept as {aside.name}")
        self._record.begin(step)
        limits = limits_left(self._project(), step, self._wish.cost_max, self._wish.tokens_max)
        if self._wish.agreed and step.stage in ("discover", "label"):
            limits = (*limits, "--yes")
        say = partial(self._view.said, step)
        return await StepProcess.start([*step.arguments, *limits], self._environment, self._log(step), say)

    def _log(self, step: Step) -> Path:
        return self._root / "logs" / f"pipeline-{step.name.replace(' ', '-')}.log"
