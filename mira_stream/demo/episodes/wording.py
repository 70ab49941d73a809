"""What users and agents say: plain cores, and the turns of phrase that a manner adds to them."""

from random import Random
from typing import Final, NamedTuple


class Manner(NamedTuple):
    """How somebody talks: for each turn of phrase, the chance that a sentence carries it."""

    plan: float
    hedge: float
    recall: float
    intent: float
    verify: float
    creep: float
    ticks: float


class Facts(NamedTuple):
    """What sentences speak of."""

    name: str
    path: str
    call: str
    line: int
    passed: int
    failed: int


PLAN: Final = (
    "First", "Next", "Then", "After that", "As step one of the plan", "As the next step", "Following the plan",
    "Finally", "The plan begins here", "First of all the steps", "Step two, as planned", "Before the next step",
    "Then, as the plan has it", "The goal of this step", "To begin with step one", "After that first step",
)  # fmt: skip
HEDGE: Final = (
    "maybe", "probably", "perhaps", "I guess", "hopefully", "somehow", "I suppose", "it might be that",
    "not sure, but maybe", "apparently, or so I guess", "perhaps, though I am not sure", "it might possibly be that",
    "I guess that somehow", "hopefully, maybe", "presumably", "I suppose that probably",
)  # fmt: skip
RECALL: Final = (
    "again", "as before", "as seen earlier", "as in the previous run", "like above", "still the same as earlier",
    "again as in the previous turn", "as already noted above", "just as the previous output said",
    "once again as before", "which still holds as already seen", "the same once more", "still as above",
    "as already seen earlier",
)  # fmt: skip
INTENT: Final = (
    "as the user asked", "which the issue requires", "so the request is met", "because the user needs it",
    "as requested", "which is what the report wants", "as the issue demands", "to satisfy the user",
    "within what was requested", "since the requirement says so",
)  # fmt: skip
CREEP: Final = (
    "I also refactor the rest", "I rename things everywhere", "I tidy the whole file too",
    "extra cleanup comes along", "I also rewrite nearby code", "I restyle everything else",
    "the whole module gets a cleanup", "I add extra features too", "other names get renamed also",
    "I polish unrelated parts",
)  # fmt: skip
VERIFY: Final = (
    "I verify this", "I check {call} once", "the tests have to confirm it", "I verify the edge cases",
    "a check of every case follows", "I check and verify each case", "each case gets checked",
    "I validate and confirm the result", "I double check", "the test suite confirms the change",
    "I check the other cases", "verified case by case", "I validate it",
)  # fmt: skip
LOOK: Final = (
    "I open {path}", "let me read {name}", "I look at the body of {name}", "I read the code around line {line}",
    "the source of {name} comes into view", "I go through {path}", "let me see how {name} works",
    "{name} is short enough to read", "I want the lines near {line}",
)  # fmt: skip
CAUSE: Final = (
    "line {line} does the wrong thing", "the fault sits at line {line} of {path}", "{name} goes wrong at line {line}",
    "{call} takes the wrong branch", "the value at line {line} is off", "the mistake in {name} is small",
    "the body of {name} mixes something up", "line {line} explains the output", "{call} hits the bad line",
    "the logic near line {line} does not hold",
)  # fmt: skip
CHANGE: Final = (
    "I change line {line}", "I edit {path} there", "a small edit in {name} will do",
    "I put the right expression back", "I replace that line in {path}", "I correct line {line}",
    "I write the line anew", "{name} gets a new line {line}",
)  # fmt: skip
FAILED: Final = (
    "{failed} calls go wrong", "the run shows {failed} bad results", "{call} gives a wrong value",
    "the output for {call} is wrong", "only {passed} calls come out right", "the run of {name} is not clean",
)  # fmt: skip
MISHAP: Final = (
    "the call was refused", "that edit did not go in", "the tool did not accept it", "my text did not match the file",
    "the arguments were malformed", "the path was wrong",
)  # fmt: skip
DONE: Final = (
    "{name} works now", "{call} gives the right value", "the fault in {path} is gone", "the change to {name} is in",
    "{passed} calls come out right", "line {line} is correct now", "the work on {name} is complete",
)  # fmt: skip
OPEN: Final = (
    "{name} is not fully right", "{failed} calls still come out wrong", "I leave {path} as it is", "I stop here",
    "{call} remains wrong", "somebody else must look at {name}",
)  # fmt: skip
COMPLAINT: Final = (
    "{name} gives wrong results", "{call} returns a wrong value", "there is a bug in {name}", "{name} broke lately",
    "calling {call} goes wrong", "{path} has a fault", "please fix {name}", "{name} misbehaves for some inputs",
)  # fmt: skip
WISHES: Final = (
    "please change only {path}", "the signature must stay", "the tests must stay as they are",
    "keep the change small", "the user wants this today", "all calls in the tests should be right",
    "the fix should be short", "no other file should change", "this is required for the release",
    "we need it for {name}",
)  # fmt: skip


def sentence(random: Random, core: str, manner: Manner, facts: Facts) -> str:
    """One sentence: a core, with the turns of phrase that this manner happens to add."""
    words = core
    if random.random() < manner.hedge:
        words = f"{random.choice(HEDGE)} {words}"
    if random.random() < manner.plan:
        opening = random.choice(PLAN)
        words = f"{opening}{':' if opening.endswith(('here', 'this step')) else ','} {words}"
    for chance, pool in (
        (manner.recall, RECALL),
        (manner.intent, INTENT),
        (manner.verify, VERIFY),
        (manner.creep, CREEP),
    ):
        if random.random() < chance:
            words += f", {random.choice(pool)}" if random.random() < 0.7 else f"; {random.choice(pool)}"
    return _fill(words[0].upper() + words[1:], facts, random.random() < manner.ticks) + "."


def _fill(words: str, facts: Facts, ticks: bool) -> str:
    mark = "`" if ticks else ""
    return words.format(
        name=f"{mark}{facts.name}{mark}",
        path=f"{mark}{facts.path}{mark}",
        call=f"{mark}{facts.call}{mark}",
        line=f"{mark}{facts.line}{mark}",
        passed=facts.passed,
        failed=facts.failed,
    )
