"""Services as child processes: watched, started again when they die, and none left behind."""
