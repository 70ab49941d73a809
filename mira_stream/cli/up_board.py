"""What `mira-stream up` says of what it keeps alive: PROJECT/run/services.json, and metrics of its own."""

import asyncio
import os
from collections.abc import Callable, Sequence

from prometheus_client import Counter, Gauge

from mira_stream.broker_local.keeping import KeptBroker
from mira_stream.cli.announced import Announced
from mira_stream.cli.up_pulse import Probes
from mira_stream.streaming.health import Check
from mira_stream.streaming.metrics import Metrics
from mira_stream.supervision.keeping import Keeper, Kept


class Board:
    """`say` replaces the file. `ports`: of each service's metrics; `url`: of our own. `living` ends when the embedded
    broker is given up; both are None where the broker is somebody else's. `page`: of the dashboard, if there is one."""

    def __init__(self, say: Callable[[Sequence[Announced], Sequence[Kept]], None], beside: str) -> None:
        self.metrics = Metrics()
        self.url = ""
        self.ports: dict[str, int] = {}
        self.page = ""
        self.keeper: Keeper | None = None
        self.broker: KeptBroker | None = None
        self.living: asyncio.Task[None] | None = None
        self._say = say
        self._beside = beside
        registry = self.metrics.registry
        self._restarts = Counter(
            "mira_service_restarts_total",
            "Deaths of a service behind which up starts it again",
            ["service"],
            registry=registry,
        )
        self._up = Gauge(
            "mira_service_up", "Whether a service that up keeps alive runs", ["service"], registry=registry
        )
        self._counted: dict[str, int] = {}

    @property
    def broker_runs(self) -> bool:
        return self.broker is None or self.broker.kept.state == "runs"

    def probes(self) -> dict[str, Probes]:
        """Where those that run can be asked whether they live. Nobody asks for a token there."""
        asked = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        if self.page:
            asked["dashboard"] = self.page
        kept = {one.name for one in self._kept()}
        return {name: Probes(f"{url}/livez", f"{url}/startupz") for name, url in asked.items() if name in kept}

    def started(self) -> Check:
        if self.ports:
            return Check("services", True)
        return Check("services", False, None, "they are not started yet", "wait: the broker comes first")

    def ready(self) -> Check:
        dead = next((one for one in self._kept() if one.vital and one.state != "runs"), None)
        if dead is None:
            return Check("kept", True)
        return Check("kept", False, None, f"{dead.name}: {dead.why}", "wait: it is started again; its log says more")

    def check_broker(self) -> None:
        """Raises what ended the embedded broker for good."""
        if self.living is not None and self.living.done():
            self.living.result()

    def changed(self) -> None:
        """Say how all is now."""
        kept = self._kept()
        running = {one.name for one in kept}  # a port is chosen before its service is started
        services = [Announced(f"up{self._beside}", self.url, os.getpid())]
        if self.keeper is not None:
            services += [
                Announced(f"{name}{self._beside}", f"http://127.0.0.1:{port}", self.keeper.pid(name))
                for name, port in self.ports.items()
                if name in running
            ]
        for one in kept:
            self._up.labels(one.name).set(one.state == "runs")
            self._restarts.labels(one.name).inc(one.restarts - self._counted.get(one.name, 0))
            self._counted[one.name] = one.restarts
        self._say(services, kept)

    def _kept(self) -> list[Kept]:
        broker = [] if self.broker is None else [self.broker.kept]
        return broker + ([] if self.keeper is None else self.keeper.kept())
