"""Searching an engine's settings on the machine at hand: what is tried, what wins, how it is written down.

Everything but running.py is pure.
"""
