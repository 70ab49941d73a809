"""Runnable services that produce documents. Wiring only."""
