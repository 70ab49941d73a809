"""Serving HTTP from inside a service's own event loop: starlette and uvicorn, nowhere else."""

from mira_stream.http.door import Door
from mira_stream.http.guard import TOKEN_WRONG, check_bind, guarded
from mira_stream.http.operations import PROBES, operations
from mira_stream.http.refusals import Refusals
from mira_stream.http.serving import serve

__all__ = ["PROBES", "TOKEN_WRONG", "Door", "Refusals", "check_bind", "guarded", "operations", "serve"]
