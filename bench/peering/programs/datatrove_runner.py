"""datatrove's InferenceRunner against a running `vllm serve`, with its checkpoints and request cache on."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter


async def rollout(document: Any, generate: Any) -> Any:
    body = {key: value for key, value in document.metadata["body"].items() if key != "model"}
    return (await generate(body)).text


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    requests = [json.loads(line) for line in Path(job["requests"]).read_text().splitlines()]
    runner = InferenceRunner(
        rollout,
        InferenceConfig(
            server_type="endpoint",
            endpoint_url=job["base_url"].removesuffix("/v1"),
            model_name_or_path=job["model"],
            max_concurrent_generations=job["in_flight"],
            max_concurrent_documents=job["in_flight"],
        ),
        JsonlWriter(str(folder / "results"), output_filename="${rank}_chunk_${chunk_index}.jsonl", compression=None),
        checkpoints_local_dir=str(folder / "checkpoints"),
        records_per_chunk=job["chunk"],
        skip_bad_requests=True,
    )
    documents = [Document(text="", id=one["id"], metadata={"body": one["body"]}) for one in requests]
    (folder / "started").write_text(str(time.time()))
    runner.run(documents)
    (folder / "ended").write_text(str(time.time()))


main(Path(sys.argv[1]))
