"""Counts every document, recomputes every decision, and tells one document's story."""
