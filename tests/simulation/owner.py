"""The owner of the simulated project: what mira.toml says by now, and what commands have written into `mira.policy`."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

from mira_stream.config import Project
from mira_stream.errors import UsageError
from mira_stream.messages import SLOTS, Mask, Policy, encode
from mira_stream.selecting.adding import addition
from mira_stream.selecting.carrying import carried
from mira_stream.selecting.changing import change
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.publish import due
from mira_stream.selecting.sense import SKIP_KEY
from mira_stream.selecting.wanted import rubric_under
from mira_stream.testing.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.plan import Plan, windows_of
from tests.simulation.project import ADDED, LIKE, policy_records, prior_of, variant, windowed

NONSENSE: Final = (
    (b"*", b"{ no JSON"),
    (b"*", encode(Policy(retention=7.0, by="command"))),
    (b"group:alpha", encode(Policy(floors={"A99": 3.0}, by="command"))),
    (b"source:news", encode(Policy(band=2.0, by="command"))),
)
"""Records of somebody else's, that nobody can put in force."""


class Owner:
    """Changes what is in force at any moment; nothing of it is a fault of the stream."""

    def __init__(self, loop: VirtualLoop, plan: Plan, rng: random.Random, project: Project, network: Network) -> None:
        self.windows = plan.windows
        self.resized = False
        self.broken: list[int] = []
        """Versions that were never to come into force."""
        self._in_the_way: set[int] = set()
        self._first = project
        self._loop = loop
        self._plan = plan
        self._rng = rng
        self._network = network
        self._reached: Counter[str] = network.reached
        self._changed = False
        self._added = False
        self._lineages = 0

    @property
    def project(self) -> Project:
        """As it is now: who starts from here on reads it so."""
        return variant(windowed(self._first, self.windows), self._changed, self._added)

    @property
    def was_broken(self) -> bool:
        return bool(self.broken)

    @property
    def is_in_the_way(self) -> bool:
        """Whether what nobody can put in force still waits to be passed over."""
        return bool(self._in_the_way)

    # -- mira.toml --

    def resize(self) -> None:
        """Other windows for aggregators that start from here on."""
        while (section := windows_of(self._rng)) == self.windows:
            pass
        self.windows, self.resized = section, True
        self._reached["windows resized"] += 1
        self._network.tell(f"windows of {section.size_s} s, grace {section.grace_s} s")

    def lineage(self) -> None:
        """Other students, or those of before: the policy first; whoever starts from here on scores with them."""
        log, override = self._log(), self._rng.random() < 0.3
        changed = not self._changed
        wanted = policy_records(self._plan.size, changed, self._added)
        if not override:
            prior = prior_of(self._plan.size)
            wanted = carried(log, wanted, rubric_under(self.project), lambda _: prior).records
        self.put_in_force(due(log, wanted, override=override)[0])
        self._changed = changed
        self._lineages += 1
        self._reached["lineage changed" if self._lineages == 1 else "lineage came back"] += 1
        self._network.tell(f"the project's students are {'other ones' if changed else 'those of before'}")

    def add_source(self) -> bool:
        """`mira-stream source add --like`: registered first, then written into the project. Whether it is new."""
        if self._added:
            return False
        self.put_in_force(addition(self._log(), ADDED, None, LIKE, None, _no_mask).records)
        self._added = True
        self._reached["source added"] += 1
        self._network.tell(f"{ADDED} is added")
        return True

    # -- mira.policy: what the commands write, in force at any moment --

    def put_in_force(self, records: Sequence[tuple[str, Policy | Mask]]) -> None:
        for key, message in records:
            self._write(key.encode(), encode(message))

    def policy(self) -> None:
        rng = self._rng
        policy = Policy(
            retention=rng.choice((0.2, 0.5, 0.8, None)),
            unit=rng.choice(("documents", "tokens", None)),
            band=rng.choice((0.0, 0.1, None)),
            floors=rng.choice((None, {"A3": 3.0})),
        )
        self._ask("policy changed", rng.choice(("*", "group:alpha", "source:news")), policy)

    def mask(self) -> None:
        """A dimension out, or in again; under all lineages that there were."""
        rng, slot = self._rng, self._rng.choice(SLOTS[:3])
        asked = Policy(mask_remove=[slot]) if rng.random() < 0.6 else Policy(mask_add=[slot])
        kind = "mask changed, two lineages" if self._lineages else "mask changed"
        self._ask(kind, rng.choice(("group:alpha", "source:news", "source:posts")), asked)

    def scope(self) -> None:
        key = self._rng.choice(("*", "group:alpha", "source:news"))
        self._ask("scope changed", key, Policy(threshold_scope=self._rng.choice(("source", "group", "group"))))

    def break_policy(self) -> None:
        """Somebody writes what nobody can put in force: all who start or look end, and commands refuse, until
        `mira-stream policy skip`. It may come twice before a person looks."""
        key, value = self._rng.choice(NONSENSE)
        offset = self._write(key, value)
        self.broken.append(offset)
        self._in_the_way.add(offset)
        self._reached["policy broken"] += 1
        self._network.tell(f"policy {offset} is nonsense: {value!r}")
        self._loop.call_later(self._rng.uniform(0.2, 3.0), self._skip, offset, context=self._loop.outside)

    def _skip(self, offset: int) -> None:
        self._in_the_way.remove(offset)
        self._reached["policy skipped"] += 1
        self._network.tell(f"policy {offset} is passed over")
        self._write(SKIP_KEY, encode(Policy(skips=[offset], note="not ours", by="command")))

    def _write(self, key: bytes, value: bytes) -> int:
        return self._network.memory.append(self._first.topic("policy"), key, value, 0).offset

    def _log(self) -> PolicyLog:
        """Raises ConfigError while a record is in the way."""
        log = PolicyLog(self._first.settings.topics.scores_key)
        log.extend(self._network.memory.records(self._first.topic("policy")))
        return log

    def _ask(self, kind: str, key: str, asked: Policy) -> None:
        """`mira-stream policy set`, which refuses what would not hold."""
        try:
            prior, rubrics = prior_of(self._plan.size), rubric_under(self.project)
            found = change(self._log(), key, asked, "group", lambda _: prior, rubric_of=rubrics)
            self.put_in_force(found.records)
        except UsageError as refusal:
            return self._network.tell(f"policy refused: {refusal}")
        self._reached[kind] += 1
        return self._network.tell(f"{kind}: {key} {asked}")


def _no_mask(source: str, group: str) -> Mask:
    raise AssertionError("the source it is like has a mask")
