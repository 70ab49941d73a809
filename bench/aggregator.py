"""How many score cards a second does one aggregator decide on, exactly once, and what does a source cost?

A score log of random cards (8 groups, 4 partitions) is decided on by the real aggregator on the embedded Kafka. Beside
it, in the same run and on the same records, the limit: aiokafka alone reads them, writes as many bytes for each as the
aggregator has written in a turn that is not counted (one record a card, all into one topic), and commits, exactly once,
a partition beside the others; it decides nothing. Who is first changes from round to round; the ratio is the median of
the rounds' ratios. Then the states of all sources
are restored from the topics, as a restart would, the partitions side by side; their limit is aiokafka alone, which
reads the same records. Last, the memory of a source is traced. Prints tables; the last line is one JSON object.

    python bench/aggregator.py --cards 100000 --sources 1000 --repeats 4
"""

import gc
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a file, too

from bench.aggregating.cards import PARTITIONS, settings_of
from bench.aggregating.memory import bytes_a_source
from bench.aggregating.sides import Restored, Turn, one_turn, written_a_card
from bench.command.arguments import Parser, positive
from bench.command.ending import program, run
from mira_stream.broker_local import embedded
from mira_stream.config import Project
from mira_stream.streaming.service import GARBAGE, log_to_stderr


async def measure(cards: int, sources: int, repeats: int, seed: int, console: Console) -> dict[str, Any]:
    """Turns of both sides, every restore, and the bytes that are written a card."""
    found: dict[str, Any] = {"ours": [], "limit": [], "restored": [], "written": 0}
    with tempfile.TemporaryDirectory() as folder:
        async with embedded(Path(folder)) as bootstrap:
            warm = Project(Path(folder), settings_of("bench-warm", sources))
            found["written"] = await written_a_card(bootstrap, warm, cards, seed)
            for turn in range(repeats):
                project = Project(Path(folder), settings_of(f"bench{turn}", sources))
                limit, ours, restored = await one_turn(bootstrap, project, cards, seed, found["written"], turn)
                found["limit"].append(limit)
                found["ours"].append(ours)
                found["restored"].append(restored)
                console.print(
                    f"turn {turn + 1}: aggregator {ours.seconds:.2f} s, limit {limit.seconds:.2f} s; restored in"
                    f" {restored.ours.seconds:.2f} s, limit {restored.limit.seconds:.2f} s"
                )
    return found


def restore_figures(restored: Sequence[Restored]) -> dict[str, float]:
    """Medians of seconds and CPU, ours and the limit's."""
    sides = {"restore": [one.ours for one in restored], "restore_limit": [one.limit for one in restored]}
    return {
        f"{side}_{what}": round(median(getattr(turn, what) for turn in turns), 3)
        for side, turns in sides.items()
        for what in Turn._fields
    }


def restore_table(restored: Sequence[Restored]) -> Table:
    table = Table("restart of all partitions", "records read", "CPU, s (median)", "seconds of each turn")
    records = f"{median(one.records for one in restored):,.0f}"
    sides = [("states restored, cards replayed", [one.ours for one in restored])]
    sides.append(("aiokafka alone, the same records", [one.limit for one in restored]))
    for name, turns in sides:
        seconds = "  ".join(f"{turn.seconds:.2f}" for turn in turns)
        table.add_row(name, records, f"{median(turn.cpu_s for turn in turns):.2f}", seconds)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--cards", type=positive, default=100_000)
    parser.add_argument("--sources", type=positive, default=1_000)
    parser.add_argument("--repeats", type=positive, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    log_to_stderr()
    gc.set_threshold(*GARBAGE)  # as a service does
    found = run(measure(given.cards, given.sources, given.repeats, given.seed, Console(stderr=True)))
    rates = {side: given.cards / median(turn.seconds for turn in found[side]) for side in ("ours", "limit")}
    cpu = {side: median(turn.cpu_s for turn in found[side]) / given.cards * 1e6 for side in ("ours", "limit")}
    ratio = median(limit.seconds / ours.seconds for limit, ours in zip(found["limit"], found["ours"], strict=True))
    memory = bytes_a_source(given.sources, max(1, given.cards // given.sources), given.seed)
    table = Table("side", "cards/s (median)", "CPU a card, µs", "seconds of each turn")
    for side, name in (("ours", "aggregator, exactly once"), ("limit", "aiokafka alone, as many bytes")):
        turns = "  ".join(f"{turn.seconds:.2f}" for turn in found[side])
        table.add_row(name, f"{rates[side]:,.0f}", f"{cpu[side]:.0f}", turns)
    Console().print(table)
    Console().print(f"{found['written']} bytes written a card; {ratio:.2f} of the limit, median of the rounds' ratios")
    restores = restore_figures(found["restored"])
    Console().print(restore_table(found["restored"]))
    Console().print(f"{given.sources} sources in {PARTITIONS} partitions; {memory / 1024:.1f} KiB a source")
    result = {
        "cards": given.cards,
        "sources": given.sources,
        "repeats": given.repeats,
        "aggregator_cards_per_s": round(rates["ours"], 1),
        "limit_cards_per_s": round(rates["limit"], 1),
        "ratio": round(ratio, 4),
        "written_bytes_a_card": found["written"],
        "aggregator_cpu_us": round(cpu["ours"], 1),
        "limit_cpu_us": round(cpu["limit"], 1),
        "kib_a_source": round(memory / 1024, 2),
        **restores,
    }
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    program(main)
