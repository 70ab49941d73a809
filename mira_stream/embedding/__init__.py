"""The only place that knows sentence-transformers: texts into unit vectors."""
