"""Asking a teacher many questions: paced, paid once, stopped at a budget, resumed after any end."""
