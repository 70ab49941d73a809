"""What a service shows to whoever runs it: /metrics, /livez, /readyz, /startupz."""

from collections.abc import Callable, Collection
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mira_stream.http.guard import LOOPBACK_NAMES, guarded
from mira_stream.streaming.health import Health, Report

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' exposition format."""
PROBES: Final = ("/livez", "/readyz", "/startupz")


def operations(exposition: Callable[[], bytes], health: Health, names: Collection[str] = LOOPBACK_NAMES) -> ASGIApp:
    """`exposition` gives the metrics as text. A probe answers 200 or 503, and in JSON each check with its age and a
    way out. All of it runs on the service's own loop: a loop that stands still answers no probe, which is the truth."""

    async def metrics(_: Request) -> Response:
        return Response(exposition(), media_type=TEXT)

    return guarded(Starlette(routes=[Route("/metrics", metrics), *probes(health)]), names=names)


def probes(health: Health) -> list[Route]:
    """The routes of PROBES."""
    looks = (health.live, health.ready, health.started)
    return [_probe(path, look) for path, look in zip(PROBES, looks, strict=True)]


def _probe(path: str, look: Callable[[], Report]) -> Route:
    async def answer(_: Request) -> Response:
        report = look()
        return JSONResponse(_body(report), 200 if report.ok else 503, {"cache-control": "no-store"})

    return Route(path, answer)


def _body(report: Report) -> dict[str, object]:
    checks = []
    for check in report.checks:
        row: dict[str, object] = {"name": check.name, "ok": check.ok, "cause": check.cause, "fix": check.fix}
        row["age_s"] = None if check.age_s is None else round(check.age_s, 3)
        checks.append(row)
    return {"ok": report.ok, "checks": checks}
