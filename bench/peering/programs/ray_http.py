"""Ray Data LLM's HTTP processor against a running `vllm serve`. Its own vLLM stage wants a GPU.

An actor of its HTTP stage sends one request at a time: of ray 2.60.0 `HttpRequestUDF.udf` makes all requests of a batch
before it awaits the first, but aiohttp sends a request only when it is awaited. So only more actors keep a server busy.
"""

import json
import sys
import time
from pathlib import Path

import ray
from ray.data.llm import HttpRequestProcessorConfig, build_processor

ACTORS = 16


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    requests = [json.loads(line) for line in Path(job["requests"]).read_text().splitlines()]
    logical = ACTORS + 4  # its stages wait, they do not compute
    ray.init(num_cpus=logical, include_dashboard=False, logging_level="error")
    processor = build_processor(
        HttpRequestProcessorConfig(
            url=job["base_url"] + "/chat/completions",
            headers={"Content-Type": "application/json"},
            batch_size=4,  # small, so that every actor has some
            concurrency=ACTORS,
        ),
        preprocess=lambda row: {"payload": json.loads(row["body"]), "id": row["id"]},
        postprocess=lambda row: {
            "id": row["id"],
            "text": row["http_response"]["choices"][0]["message"]["content"],
        },
    )
    rows = [{"id": one["id"], "body": json.dumps(one["body"])} for one in requests]
    (folder / "started").write_text(str(time.time()))
    processor(ray.data.from_items(rows)).write_json(str(folder / "results"))
    (folder / "ended").write_text(str(time.time()))


main(Path(sys.argv[1]))
