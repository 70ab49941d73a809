"""The edge to vLLM, in this process; its only user. Importing this package does not import vLLM."""

from mira_stream.vllm_engine.emptying import empty
from mira_stream.vllm_engine.engine import VllmEngine, sampling
from mira_stream.vllm_engine.starter import engine_arguments
from mira_stream.vllm_engine.threads import sharing_cores

__all__ = ["VllmEngine", "empty", "engine_arguments", "sampling", "sharing_cores"]
