"""Services as child processes: watched, started again when they die, and none left behind.

To stop is TERM, time to drain, then KILL; to kill is KILL at once.
"""
