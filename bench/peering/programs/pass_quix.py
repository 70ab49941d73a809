"""Quix Streams with processing_guarantee="exactly-once": one document after the other, no async handlers."""

import json
import sys
import time
from pathlib import Path

from quixstreams import Application


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    app = Application(
        broker_address=job["bootstrap"], consumer_group=job["group"], auto_offset_reset="earliest",
        processing_guarantee="exactly-once", auto_create_topics=False, loglevel="WARNING",
        consumer_extra_config={"session.timeout.ms": 6_000}, commit_interval=job["commit_s"],
    )  # fmt: skip
    incoming = app.topic(job["input"], value_deserializer="bytes", key_deserializer="bytes")
    outgoing = app.topic(job["output"], value_serializer="bytes", key_serializer="bytes")
    state = {"started": False}

    def handle(value: bytes) -> bytes:
        if not state["started"]:
            state["started"] = True
            (folder / "started").write_text(str(time.time()))
        if job["document_s"]:
            time.sleep(job["document_s"])
        return value

    app.dataframe(incoming).apply(handle).to_topic(outgoing)
    app.run()


main(Path(sys.argv[1]))
