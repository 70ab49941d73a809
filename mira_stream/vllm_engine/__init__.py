"""The edge to vLLM, in this process; its only user. Importing this package does not import vLLM."""

from mira_stream.vllm_engine.engine import VllmEngine

__all__ = ["VllmEngine"]
