"""The only place that knows sentence-transformers: texts in, unit vectors out."""

from mira_stream.embedding.embedder import PACKAGED, Embedder, Progress

__all__ = ["PACKAGED", "Embedder", "Progress"]
