"""What a source takes in memory."""

import random
import tracemalloc

from msgspec.structs import replace

from bench.aggregating.cards import LINEAGE, card, policies, settings_of
from mira_stream.messages import Decision, Prior, encode
from mira_stream.records import Record
from mira_stream.sections import WINDOWS_MAX
from mira_stream.selecting.policies import PolicyLog
from mira_stream.selecting.selector import Selector
from mira_stream.windows import SourceWindows

HOUR_MS = 3_600_000


def bytes_a_source(sources: int, cards_each: int, seed: int) -> float:
    """Traced memory of a source: its mask with a prior of 300 held-out cards, its rules, its states, and as many
    windows as are kept, all of them filled."""
    settings, rng = settings_of("memory", sources), random.Random(seed)
    prior = Prior(cells={str(cell): 1.5 for cell in range(300, 500)}, documents=300, tokens=60_000)
    told = [(key.encode(), encode(message)) for key, message in policies(settings, prior)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    log, selector = PolicyLog(), Selector(0)
    for offset, (key, message) in enumerate(told):
        log.add(Record("policy", 0, offset, 0, key, message))
    rules = {name: log.rules(str(one.group), name, LINEAGE) for name, one in settings.sources.items()}
    windows = {name: SourceWindows(name, str(one.group), HOUR_MS, 0) for name, one in settings.sources.items()}
    for number in range(sources * cards_each):
        found = card(number, rng, settings)
        known = rules[found.source]
        assert known is not None
        outcome = selector.select(found, number, known).outcome
        if isinstance(outcome, Decision):
            hour = number * WINDOWS_MAX // (sources * cards_each)
            windows[found.source].add(replace(outcome, event_time_ms=1 + hour * HOUR_MS))
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / sources
