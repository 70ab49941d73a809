"""Parts of `aggregator.py`: the log, what is timed over it, and memory."""
