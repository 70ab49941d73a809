"""`vllm serve` and a plain asyncio client: every request at once behind a semaphore, results kept as they come."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import openai


async def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    client = openai.AsyncOpenAI(base_url=job["base_url"], api_key="none", max_retries=2)
    free = asyncio.Semaphore(job["in_flight"])
    requests = [json.loads(line) for line in Path(job["requests"]).read_text().splitlines()]
    (folder / "started").write_text(str(time.time()))
    with (folder / "results.jsonl").open("a") as results:

        async def ask(one: dict[str, Any]) -> None:
            async with free:
                answer: Any = await client.post("/chat/completions", cast_to=object, body=one["body"])
            results.write(json.dumps({"id": one["id"], "text": answer["choices"][0]["message"]["content"]}) + "\n")
            results.flush()

        await asyncio.gather(*(ask(one) for one in requests))
    (folder / "ended").write_text(str(time.time()))


asyncio.run(main(Path(sys.argv[1])))
