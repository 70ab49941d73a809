"""Parts of `retention_accuracy.py`: the streams, their decisions, and what those are compared with."""
