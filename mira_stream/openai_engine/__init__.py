"""The edge to OpenAI-compatible chat endpoints; the only user of the `openai` package."""

from mira_stream.openai_engine.engine import OpenAIEngine
from mira_stream.openai_engine.teacher import OpenAITeacher

__all__ = ["OpenAIEngine", "OpenAITeacher"]
