"""Asking a teacher many questions: paced, paid once, stopped at a budget, resumed after any end."""

from mira_stream.teaching.ask import Progress, ask_all
from mira_stream.teaching.cost import Budget, Estimate, Price, Spending, estimate
from mira_stream.teaching.journal import Journal
from mira_stream.teaching.pace import Limits
from mira_stream.teaching.port import Answer, Question, Teacher, Unanswered
from mira_stream.teaching.sender import Tell

__all__ = [
    "Answer",
    "Budget",
    "Estimate",
    "Journal",
    "Limits",
    "Price",
    "Progress",
    "Question",
    "Spending",
    "Teacher",
    "Tell",
    "Unanswered",
    "ask_all",
    "estimate",
]
