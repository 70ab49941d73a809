"""mira-stream: judges LLM training documents while they arrive."""

__version__ = "0.1.0"
