"""Starts an AsyncLLM in a thread of its own, so that several start side by side and the loop goes on.

`AsyncLLM` needs no running loop: its output task starts with the first request on ours.
"""

import asyncio
import atexit
import gc
import os
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mira_stream.errors import DependencyError
from mira_stream.sections import GroupSection
from mira_stream.vllm_engine.guardian import WATCH_S, guard
from mira_stream.vllm_engine.started import end_started_by
from mira_stream.vllm_engine.threads import set_threads

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm.v1.engine.async_llm import AsyncLLM

GIB: Final = 2**30
ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore::FutureWarning,ignore:resource_tracker:UserWarning",
}
"""Set where the user has not: nothing is fetched or reported, engines side by side share the cores, and the child
processes keep libraries' advice to themselves. Python's resource tracker cleans up after a killed engine in silence."""

_one_at_a_time: Final = threading.Lock()
# Engines start side by side, but transformers' lazy module gives half a name to the second thread that imports it,
# and both libraries import more while they read a model's configuration.

HEAD: Final = {"runner": "pooling", "convert": "classify"}
"""A head is asked at the prompt's last token. Prefixes are cached and prompts chunked as for a student that speaks."""

Started = tuple["AsyncLLM", "PreTrainedTokenizerBase"]


class Starter:
    """One start. `run` may be cancelled at any time: the processes that it has started are killed, and what is left
    ends at the latest with this process (guardian.py)."""

    def __init__(self, student: Path, settings: GroupSection, threads: int = 0) -> None:
        self._student = student
        self._settings = settings
        self._threads = threads
        self._cancelled = threading.Event()

    async def run(self) -> Started:
        """Raises DependencyError."""
        guard()
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # a forked child would not carry the guardian's mark
        atexit.unregister(gc.freeze)
        atexit.register(gc.freeze)  # to look for garbage among all that vLLM has imported takes many seconds at the end
        resource_tracker.ensure_running()  # where a thread starts it, this lets Ctrl-C through to the thread's children
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Started] = loop.create_future()

        def work() -> None:
            # Children inherit it: a terminal's Ctrl-C is for this process alone, which ends them in order.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                started = self._build()
            except BaseException as error:
                _tell(loop, _fail, done, error)
            else:
                _tell(loop, _finish, done, started)

        thread = threading.Thread(target=work, name=f"start-{self._student.name}", daemon=True)
        thread.start()
        try:
            return await done
        except asyncio.CancelledError:
            self._cancelled.set()
            _end_started(thread)
            threading.Thread(target=_keep_ending, args=[thread], daemon=True).start()
            raise

    def _build(self) -> Started:
        try:
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|vllm)\b")
            with _one_at_a_time:
                from transformers import AutoTokenizer
                from vllm import AsyncEngineArgs
                from vllm.platforms import current_platform
                from vllm.v1.engine.async_llm import AsyncLLM

                set_threads(self._threads if current_platform.is_cpu() else 0)
                tokenizer = AutoTokenizer.from_pretrained(
                    str(self._student), trust_remote_code=self._settings.trust_remote_code
                )
                config = AsyncEngineArgs(**engine_arguments(self._student, self._settings)).create_engine_config()
            if self._cancelled.is_set():
                raise DependencyError("engine_start", "cancelled", "start again")
            llm = AsyncLLM.from_vllm_config(config, disable_log_stats=True)
        except DependencyError:
            raise
        except Exception as error:
            if self._cancelled.is_set():
                raise DependencyError("engine_start", "cancelled", "start again") from None
            if type(error).__name__ == "ValidationError":  # pydantic's, before any process was started
                raise DependencyError(
                    "engine_start",
                    f"vLLM cannot serve {self._student}: {refused(str(error))}",
                    "change the group's settings in mira.toml, or the model folder's config.json",
                ) from error
            raise DependencyError(
                "engine_start",
                f"vLLM cannot serve {self._student}: {type(error).__name__}: {str(error)[:1000]}",
                "its own lines are above (VLLM_LOGGING_LEVEL=INFO shows more); check memory and the model folder",
            ) from error
        if self._cancelled.is_set():
            llm.shutdown()
            raise DependencyError("engine_start", "cancelled", "start again")
        return llm, tokenizer


def engine_arguments(student: Path, settings: GroupSection) -> dict[str, Any]:
    """What vLLM is told, here and wherever its speed is compared: arguments of AsyncEngineArgs or LLM."""
    from vllm.platforms import current_platform

    from mira_stream.precision import fastest

    on_cpu = current_platform.is_cpu()
    return {
        "model": str(student),
        "tokenizer": str(student),
        # Students are bfloat16; where a CPU emulates it, a tiny one answers five times as fast in float32.
        "dtype": str(fastest()).removeprefix("torch.") if on_cpu and settings.dtype == "auto" else settings.dtype,
        "load_format": "safetensors",
        "max_model_len": settings.context_tokens_max,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "enable_prefix_caching": settings.prefix_caching,
        "enable_chunked_prefill": settings.chunked_prefill,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "kv_cache_memory_bytes": settings.kv_cache_gib * GIB if on_cpu else None,
        "enforce_eager": on_cpu,
        "trust_remote_code": settings.trust_remote_code,
        "generation_config": "vllm",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        **(HEAD if settings.mode == "head" else {}),
    }


def refused(told: str) -> str:
    """What vLLM refuses, of pydantic's words around it; without the list of all that it would take."""
    lines = [line.strip() for line in told.splitlines() if line.startswith("  ") and "errors.pydantic.dev" not in line]
    said = " ".join(lines).removeprefix("Value error, ").partition(" [type=")[0]
    return said.partition(" Supported architectures:")[0][:1000] or told[:1000]


def _end_started(thread: threading.Thread) -> None:
    assert thread.native_id is not None
    end_started_by(thread.native_id)


def _keep_ending(thread: threading.Thread) -> None:
    """Until the thread has noticed: what it was about to start, too."""
    while thread.is_alive():
        _end_started(thread)
        thread.join(WATCH_S)


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
        loop.call_soon_threadsafe(call, *arguments)


def _fail(done: asyncio.Future[Started], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)


def _finish(done: asyncio.Future[Started], started: Started) -> None:
    if done.cancelled():  # between the last look of the thread and now
        threading.Thread(target=started[0].shutdown, daemon=True).start()
    else:
        done.set_result(started)
