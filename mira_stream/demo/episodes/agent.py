"""The scripted agent: reads, runs, edits, runs again and finishes, well or badly, as its traits have it."""

import json
from random import Random
from typing import Final, NamedTuple

from mira_stream.demo.episodes import wording
from mira_stream.demo.episodes.fixes import edit_between, special_cases, sprawl
from mira_stream.demo.episodes.mutate import Mutant, mutants, silent_mutants
from mira_stream.demo.episodes.sandbox import Check, check, write_test
from mira_stream.demo.episodes.task import Task
from mira_stream.demo.episodes.traits import Traits
from mira_stream.demo.episodes.wording import Facts, sentence
from mira_stream.demo.episodes.workspace import Workspace
from mira_stream.messages import Message, ToolCall

OPTIONS: Final[dict[str, dict[str, object]]] = {
    "list_files": {"folder": ".", "hidden": False, "depth": 2},
    "view_file": {"numbers": True, "encoding": "utf-8", "wrap": False},
    "search": {"folder": ".", "ignore_case": False, "limit": 8},
    "str_replace": {"count": 1, "encoding": "utf-8", "backup": False},
    "write_file": {"encoding": "utf-8", "backup": False, "mode": "w"},
    "run_tests": {"timeout_s": 30, "stop_early": False, "color": False},
    "run_python": {"timeout_s": 10, "isolated": True, "color": False},
    "show_diff": {"context": 1, "color": False, "stat": False},
}
"""Arguments that a call may spell out or leave to their defaults."""


class Played(NamedTuple):
    """A finished episode: its turns, the files it left, and what it did wrong or well."""

    messages: list[Message]
    code: str
    tests: str
    deeds: frozenset[str]


class Player:
    """Plays one episode in a workspace; every observation is the answer of a real tool call."""

    def __init__(self, task: Task, mutant: Mutant, traits: Traits, random: Random) -> None:
        self.task, self.mutant, self.traits, self.random = task, mutant, traits, random
        self.tests = [write_test(task.code, call) for call in task.visible]
        self.space = Workspace(task, mutant.code, self.tests)
        self.messages: list[Message] = []
        self.deeds: set[str] = set()
        self.last = self._facts(self.space.checks())

    def play(self) -> Played:
        """issue, look, run, mishaps, detours, repair, sprawl, verification, last words"""
        self._issue()
        self._look()
        if self._chance(self.traits.runs * self.traits.length):
            self._run_tests(wording.LOOK)
        self._probe()
        for _ in range(self.traits.mishaps):
            self._mishap()
        for _ in range(self.traits.detours):
            self._detour()
        self._repair()
        for _ in range(self.traits.sprawl):
            self._sprawl()
        self._verify()
        self._finish()
        tests = self.space.files[self.space.tests_path]
        return Played(self.messages, self.space.code, tests, frozenset(self.deeds))

    def _facts(self, checks: list[Check]) -> Facts:
        wrong = [item.call for item in checks if item.status != "pass"]
        call = self.random.choice(wrong or self.task.visible)
        return Facts(self.task.name, self.task.path, call, self.mutant.line, len(checks) - len(wrong), len(wrong))

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _issue(self) -> None:
        random, facts, voice = self.random, self.last, self.traits.user
        item = next(each for each in self.space.checks() if each.call == facts.call)
        words = [sentence(random, random.choice(wording.COMPLAINT), voice, facts)]
        if self._chance(0.35):
            words.append(self.task.about)
        if self._chance(0.6):
            words.append(f"{item.call} should give {item.expected} but gives {item.shown}.")
        wishes = random.sample(wording.WISHES, random.choice((0, 0, 0, 1, 1, 2)))
        words += [sentence(random, wish, voice, facts) for wish in wishes]
        self.messages.append(Message(role="user", content=" ".join(words)))

    def _say(self, pool: tuple[str, ...]) -> str:
        return sentence(self.random, self.random.choice(pool), self.traits.manner, self.last)

    def _thought(self, pools: tuple[tuple[str, ...], ...], scale: float = 1.0) -> str | None:
        """About `traits.sentences` sentences from the pools; None if it comes to none."""
        wanted = self.traits.sentences * scale * self.random.uniform(0.4, 1.6)
        count = int(wanted) + self._chance(wanted - int(wanted))
        words = " ".join(self._say(self.random.choice(pools)) for _ in range(count))
        if not words:
            self.deeds.add("empty_thought")
        return words or None

    def _call(self, thought: str | None, name: str, given: dict[str, object], broken: bool = False) -> str:
        """One assistant turn with one tool call, and the observation of it."""
        options = {key: value for key, value in OPTIONS[name].items() if self._chance(self.traits.full_arguments)}
        arguments = json.dumps({**given, **options})
        if broken:
            arguments = self.random.choice((arguments[:-1], arguments.replace('"', "'"), arguments.replace(":", "=")))
        call = ToolCall(name=name, arguments=arguments)
        self.messages.append(Message(role="assistant", content=thought, tool_calls=[call]))
        answer = self.space.call(name, arguments)
        self.messages.append(Message(role="tool", name=name, content=answer))
        return answer

    def _look(self) -> None:
        looks = 0.5 + self.traits.look * self.traits.length * 2.2
        pools = (wording.LOOK, wording.CAUSE)
        seen = False
        for _ in range(int(looks) + self._chance(looks - int(looks))):
            kind = self.random.choices(("file", "part", "tests", "search", "list"), (6, 4, 2, 1, 1))[0]
            thought = self._thought(pools)
            if kind == "file" and not seen:
                self._call(thought, "view_file", {"path": self.task.path})
                seen = True
            elif kind in ("file", "part"):
                start = max(1, self.mutant.line - self.random.randrange(5))
                end = self.mutant.line + self.random.randrange(1, 5)
                self._call(thought, "view_file", {"path": self.task.path, "start": start, "end": end})
                seen = True
            elif kind == "tests":
                self._call(thought, "view_file", {"path": self.space.tests_path})
            elif kind == "search":
                self._call(thought, "search", {"pattern": self.random.choice(("return", "if", self.task.name, "="))})
            else:
                self._call(thought, "list_files", {})
        self.deeds.add("read_before_edit" if seen else "edited_blind")

    def _run_tests(self, *pools: tuple[str, ...], scale: float = 1.0) -> None:
        given: dict[str, object] = {"path": self.space.tests_path}
        if self.traits.brief_runs:
            given["verbose"] = False
        self._call(self._thought(pools, scale), "run_tests", given)
        self.last = self._facts(self.space.checks())
        self.deeds.add("ran_tests")

    def _probe(self) -> None:
        probes = self.traits.probe * self.traits.length * 1.5
        for _ in range(int(probes) + self._chance(probes - int(probes))):
            call = self.random.choice(self.task.visible)
            self._call(self._thought((wording.CAUSE, wording.FAILED)), "run_python", {"code": call})
            self.deeds.add("probed")

    def _mishap(self) -> None:
        """A call that cannot work, made once or again and again."""
        kind = self.random.choice(("json", "path", "text", "key"))
        line = self.space.code.splitlines()[-1]
        given: dict[str, object] = {"path": self.task.path, "old": f"{line}  # end", "new": line}
        if kind == "path":
            given = {"path": f"{self.task.name}/{self.task.name}.py"}
        elif kind == "key":
            given = {"file": self.task.path}
        tool = "str_replace" if kind in ("text", "json") else "view_file"
        for turn in range(1 + self.traits.repeats):
            pools = (wording.MISHAP, wording.LOOK) if turn else (wording.CHANGE, wording.LOOK)
            self._call(self._thought(pools), tool, given, broken=kind == "json")
            self.deeds.add("invalid_json" if kind == "json" else "failed_call")
            if turn:
                self.deeds.add("repeated_failing_call")

    def _put(self, code: str, pools: tuple[tuple[str, ...], ...]) -> None:
        """Bring the file to `code`, by replacement or by writing it anew."""
        before = self.space.code
        if before == code:
            return
        thought = self._thought(pools)
        if self.traits.whole_file:
            self._call(thought, "write_file", {"path": self.task.path, "content": code})
            self.deeds.add("rewrote_file")
            return
        edit = edit_between(before, code, self.traits.context)
        self._call(thought, "str_replace", {"path": self.task.path, "old": edit.old, "new": edit.new})

    def _detour(self) -> None:
        """Another fault put in place of the fault; noticed or not."""
        others = [other for other in mutants(self.task) if other.code != self.space.code]
        self._put(self.random.choice(others).code, (wording.CAUSE, wording.CHANGE))
        self.deeds.add("wrong_attempt")
        if self._chance(self.traits.runs):
            self._run_tests(wording.FAILED, wording.CAUSE)

    def _repair(self) -> None:
        repair = self.traits.repair
        wrong = [item for item in self.space.checks() if item.status != "pass"]
        pools = (wording.CAUSE, wording.CHANGE)
        if repair == "right":
            self._put(self.task.code, pools)
        elif repair == "special_case":
            quiet = silent_mutants(self.task)
            code = self.random.choice(quiet).code if quiet and self._chance(0.3) else ""
            self._put(code or special_cases(self.space.code, wrong), pools)
            self.deeds.add("fitted_to_tests")
        elif repair == "wrong":
            self._put(self.random.choice(mutants(self.task)).code, pools)
        elif repair == "weakened_tests":
            text = self.space.files[self.space.tests_path].splitlines()
            kept = [line for line in text if check(self.space.code, line).status == "pass"]
            given: dict[str, object] = {"path": self.space.tests_path, "content": "\n".join(kept)}
            self._call(self._thought(pools), "write_file", given)
            self.deeds.add("weakened_tests")
        else:
            self.deeds.add("gave_up")

    def _sprawl(self) -> None:
        self._put(sprawl(self.space.code, self.random), (wording.CHANGE, wording.CREEP))
        self.deeds.add("sprawling_edit")

    def _verify(self) -> None:
        runs = self.traits.runs * 1.1 + 0.4
        count = int(runs) + self._chance(runs - int(runs))
        if count:
            self._run_tests(wording.DONE, wording.CHANGE)
            self.deeds.add("verified")
        if self._chance(self.traits.probe * self.traits.length):
            self._call(self._thought((wording.DONE,)), "run_python", {"code": self.random.choice(self.task.visible)})
        if self._chance(self.traits.look * self.traits.length * 0.6):
            self._call(self._thought((wording.DONE, wording.CHANGE)), "show_diff", {})
        if count > 1:
            self._run_tests(wording.DONE)

    def _finish(self) -> None:
        checks = self.space.checks()
        clean = all(item.status == "pass" for item in checks)
        self.last = self._facts(checks)
        claims = clean or not self.traits.honest
        if claims and not clean:
            self.deeds.add("false_claim")
        if claims and "verified" not in self.deeds:
            self.deeds.add("claimed_unverified")
        pools = (wording.DONE,) if claims else (wording.OPEN, wording.FAILED)
        words = self._thought(pools, 1.0 + self.traits.closing) or self._say(pools[0])
        self.messages.append(Message(role="assistant", content=words))
