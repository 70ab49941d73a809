"""Runnable services that consume: scorer, aggregator, exporter. Wiring only."""
