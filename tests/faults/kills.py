"""Faults of the service processes: killed in mid transaction, frozen, joining and leaving, told to stop."""

import signal
import time

from tests.faults import failpoints
from tests.faults.engines import EngineSettings
from tests.faults.lab import Lab

RESTART_S = 3.0


async def killed_in_a_transaction(lab: Lab) -> None:
    """F01: SIGKILL after send, before offsets; before EndTxn; after EndTxn was sent: scorer, then aggregator."""
    stream = await lab.stream()
    await stream.feed(900)
    engine = EngineSettings(delay_s=0.05)
    for victim, other in (("score", "aggregate"), ("aggregate", "score")):
        beside = stream.start(other, engine=engine)
        for place in failpoints.PLACES:
            point = {failpoints.VARIABLE: f"{place}:{lab.chance.randint(1, 4)}:KILL"}
            doomed = stream.start(victim, engine=engine, environment=point)
            code = await doomed.wait(40.0)
            lab.require(code == -signal.SIGKILL, f"{victim} at {place} ended with {code}: {doomed.last_words()}")
            started = time.monotonic()
            reborn = stream.start(victim, engine=engine)
            seen = await stream.until_seen(len(stream.witness.seen) + 1, 60.0)
            lab.require(seen, f"no decision after {victim} was killed at {place}: {reborn.last_words()}")
            lab.gap(stream.witness.first_after(started) or 60.0, RESTART_S, f"first decision after {victim} at {place}")
            await reborn.kill()
        await beside.stop()
    stream.start("score", engine=EngineSettings(delay_s=0.0))
    stream.start("aggregate")
    await lab.finish(stream)
