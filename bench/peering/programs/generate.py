"""`vllm.LLM.generate`: all prompts in one call, results written when it returns. Prompts are made before the clock."""

import os
import signal
import sys
import time
from pathlib import Path

import orjson
from vllm import LLM, SamplingParams
from vllm.sampling_params import StructuredOutputsParams

from mira_stream.whole_file import replace_file


def count_tokens(llm: LLM, path: Path, freeze_at: float | None) -> None:
    """What it has generated so far, told behind each step before anything comes of it. From `freeze_at` tokens on it
    stands still, its engine too, until it is killed: the rest of a short run may take less time than its killer needs
    to look."""
    step = llm.llm_engine.step

    def counted() -> object:
        outputs = step()
        found = sum(one.value for one in llm.get_metrics() if one.name == "vllm:generation_tokens")
        replace_file(path, b"%d" % found)  # whole, whenever it is killed
        if freeze_at is not None and found >= freeze_at:
            os.killpg(0, signal.SIGSTOP)
        return outputs

    llm.llm_engine.step = counted


def main(folder: Path) -> None:
    job = orjson.loads((folder / "job.json").read_bytes())
    requests = [orjson.loads(line) for line in Path(job["requests"]).read_bytes().splitlines()]
    llm = LLM(**{**job["engine"], "disable_log_stats": not job["counts"]})  # its metrics count tokens
    tokenizer = llm.get_tokenizer()
    prompts, params = [], []
    for one in requests:
        body = one["body"]
        ids = tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, tokenize=True, return_dict=False, enable_thinking=False
        )
        prompts.append({"prompt_token_ids": list(ids)})
        outputs = body.get("structured_outputs")
        params.append(
            SamplingParams(
                max_tokens=body["max_tokens"],
                temperature=body["temperature"],
                top_p=body["top_p"],
                seed=body["seed"],
                structured_outputs=StructuredOutputsParams(regex=outputs["regex"]) if outputs else None,
            )
        )
    if job["counts"]:
        count_tokens(llm, folder / "tokens", job["freeze_at"])
    (folder / "started").write_text(str(time.time()))
    outputs = llm.generate(prompts, params, use_tqdm=False)
    with (folder / "results.jsonl").open("ab") as results:
        for one, output in zip(requests, outputs, strict=True):
            results.write(orjson.dumps({"id": one["id"], "text": output.outputs[0].text}) + b"\n")
    (folder / "ended").write_text(str(time.time()))
    replace_file(folder / "tokens", b"%d" % sum(len(output.outputs[0].token_ids) for output in outputs))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
