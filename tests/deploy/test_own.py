"""What deploy/ says agrees with the product: metrics, commands, options, the operator's page. Needs no tool."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest
import typer
import yaml

from mira_stream.cli.main import app
from mira_stream.cli.services import metrics_host, names_of
from mira_stream.errors import UsageError
from mira_stream.sections import LimitsSection
from mira_stream.streaming.metrics import Metrics
from mira_stream.vllm_engine.engine import STOP_S
from tests.deploy.metrics_page import PAGE, page, rows
from tests.machine import ROOT

DEPLOY: Final = ROOT / "deploy"
ALERTS: Final = DEPLOY / "prometheus" / "alerts.yaml"
CHART: Final = DEPLOY / "helm" / "mira-stream"
WITHOUT_METRICS: Final = {"topics", "dashboard"}
SCRAPED: Final = {"project", "job", "instance", "le"}
"""Labels that Prometheus adds."""


@cache
def registered() -> dict[str, set[str]]:
    """Every series the services can show, with its labels."""
    found: dict[str, set[str]] = {}
    for row in rows():
        of_histogram = ("_bucket", "_sum", "_count") if row.kind == "histogram" else ("",)
        found |= {row.name + suffix: set(row.labels) for suffix in of_histogram}
    return found


def test_the_page_of_all_metrics_is_the_products() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.deploy.metrics_page"
    assert all(row.meaning and row.unit for row in rows())
    assert len(rows()) > 80


def test_every_metric_that_a_text_names_is_there() -> None:
    """In the documents, in comments and in what the product says."""
    known = registered().keys() | {row.name for row in rows()} | {row.name.removesuffix("_total") for row in rows()}
    texts = [*ROOT.glob("*.md"), *DEPLOY.rglob("*.md"), *DEPLOY.rglob("*.yaml")]
    texts += [path for folder in ("mira_stream", "consumers", "producers") for path in (ROOT / folder).rglob("*.py")]
    pattern = re.compile(r"(?<![\w./-])mira_(?!stream|token|http|metrics)[a-z_]+[a-z](?![\w./*-]|_)")
    told = {(path.name, name) for path in texts for name in pattern.findall(path.read_text(encoding="utf-8"))}
    assert len(told) > 60
    assert {(where, name) for where, name in told if name not in known} == set()


@cache
def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


@cache
def worlds() -> list[dict[str, Any]]:
    """What promtool tests the alerts in."""
    files = (DEPLOY / "prometheus").glob("*_test.yaml")
    return [world for path in files for world in yaml.safe_load(path.read_text())["tests"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        yield "variable", board["templating"]["list"][1]["query"]["query"]
        for panel in board["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"]


def expressions() -> list[tuple[str, str]]:
    keda = re.findall(r"query: (.+)", (CHART / "templates" / "scorer.yaml").read_text())
    named = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    return [*named, *dashboard_expressions(), *(("KEDA", query) for query in keda)]


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_every_metric_and_label_is_one_of_ours(where: str, expression: str) -> None:
    series = registered()
    used = set(re.findall(r"\bmira_\w+", expression))
    recorded = set(re.findall(r"\bmira:[\w:]+", expression))
    assert recorded <= {rule["record"] for rule in rules() if "record" in rule}
    assert used <= series.keys(), f"{where} asks for {used - series.keys()}"
    asked = {label.strip() for inner in re.findall(r"by \(([^)]*)\)", expression) for label in inner.split(",")}
    if used:
        known = SCRAPED.union(*(series[name] for name in used))
        assert asked <= known, f"{where} groups by {asked - known}"


def test_the_objective_is_a_bucket_of_the_histogram() -> None:
    assert b'mira_decision_seconds_bucket{le="60.0"}' in Metrics().exposition()


def test_there_are_expressions_of_each_kind() -> None:
    where = [name for name, _ in expressions()]
    assert len(alerts()) >= 18
    assert "KEDA" in where
    assert len(list(dashboard_expressions())) >= 25


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_to_do_and_is_tested_both_ways(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert all(rule["annotations"][key].strip() for key in ("summary", "cause", "do"))
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = {line[4:].strip().lower() for line in (ROOT / page).read_text().splitlines() if line.startswith("### ")}
    assert anchor == name.lower()
    assert anchor in headings
    told = [
        bool(one.get("exp_samples"))
        for world in worlds()
        for one in world["promql_expr_test"]
        if f'"{name}"' in one["expr"]
    ]
    assert True in told, "no test in which it fires"
    assert False in told, "no test in which it must not"


# -- commands --


def understood(arguments: list[str]) -> None:
    """Parses the arguments with the real parsers."""
    context = typer.main.get_command(app).make_context("mira-stream", list(arguments))
    while getattr(context, "_protected_args", None):
        remaining = [*context._protected_args, *context.args]
        child = context.command.get_command(context, remaining[0])  # type: ignore[attr-defined]
        assert child is not None, f"no such command: {remaining[0]}"
        context = child.make_context(remaining[0], remaining[1:], parent=context)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
    return loaded


def ours() -> dict[str, dict[str, Any]]:
    return {name: one for name, one in compose()["services"].items() if "build" in one}


@pytest.mark.parametrize("name", ours())
def test_compose_runs_commands_that_exist(name: str) -> None:
    understood([re.sub(r"\$\{\w+:-(.*)\}", r"\1", argument) for argument in ours()[name]["command"]])


def test_producers_are_told_to_wait_unless_somebody_wants_otherwise() -> None:
    """Without a limit documents pile up until retention deletes them unread."""
    command = compose()["services"]["producer"]["command"]
    assert command[command.index("--lag-max") + 1] == "${MIRA_LAG_MAX:-2000000}"
    assert yaml.safe_load((CHART / "values.yaml").read_text())["producer"]["lagMax"] == 2_000_000


@pytest.mark.parametrize("name", ours())
def test_compose_hardens_what_is_ours(name: str) -> None:
    service = ours()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service["user"].startswith("0")
    assert not service.get("privileged")
    assert any(":/project:ro" in volume for volume in service["volumes"])


def test_compose_waits_for_readiness_and_for_the_drain() -> None:
    needed = LimitsSection().drain_s + STOP_S
    for name, service in ours().items():
        if name in WITHOUT_METRICS:
            continue
        assert "/readyz" in service["healthcheck"]["test"][-1]
        assert service["environment"]["MIRA_METRICS_HOST"] == service["hostname"] == name
        assert int(service["stop_grace_period"].rstrip("s")) > needed


def test_prometheus_scrapes_every_service_of_compose() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {
        target.partition(":")[0]
        for scrape in config["scrape_configs"]
        for static in scrape["static_configs"]
        for target in static["targets"]
    }
    assert targets == ours().keys() - WITHOUT_METRICS


def test_the_dashboard_of_compose_asks_every_service() -> None:
    service = ours()["dashboard"]
    asked = {one.partition("=")[2] for one in service["command"] if "=" in one}
    assert asked == {f"http://{name}:9464" for name in ours().keys() - WITHOUT_METRICS}
    assert service["environment"]["MIRA_DASHBOARD_TOKEN"]


def test_published_ports_are_this_machines_own() -> None:
    for service in compose()["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_chart_values_agree_with_the_product() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["limits"]["drainSeconds"] == LimitsSection().drain_s
    assert values["engine"]["stopSeconds"] >= STOP_S
    assert values["keda"]["cooldownSeconds"] > values["engine"]["startSeconds"]


def test_chart_ships_the_same_rules_and_dashboards() -> None:
    assert (CHART / "files" / "alerts.yaml").resolve() == ALERTS
    boards = {path.name for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
    assert {path.name for path in (CHART / "files").glob("*.json")} == boards


def test_nothing_secret_is_written_down() -> None:
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(?i)(password|token|secret)\s*[:=]\s*['\"]?[A-Za-z0-9]{8,}", text), path


def test_what_the_image_installs_is_compiled_there() -> None:
    text = (DEPLOY / "container" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    installs = re.findall(r"uv pip install [^&\n]*", text)
    assert "PYTHONDONTWRITEBYTECODE=1" in text  # so that no start could keep what it compiles
    assert len(installs) == 2
    assert all("--compile-bytecode" in install for install in installs)


# -- where metrics are bound --


def test_metrics_are_bound_to_one_address() -> None:
    assert metrics_host({}) == "127.0.0.1"
    assert metrics_host({"MIRA_METRICS_HOST": "10.1.2.3"}) == "10.1.2.3"
    for everywhere in ("0.0.0.0", "::"):
        with pytest.raises(UsageError, match="MIRA_METRICS_HOST"):
            metrics_host({"MIRA_METRICS_HOST": everywhere})
    assert "localhost" in names_of("127.0.0.1")
    assert names_of("10.1.2.3") == ("10.1.2.3",)


def test_paths_of_the_page_are_there() -> None:
    page = DEPLOY / "OPERATING.md"
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


SERVICES = ("streaming", "selecting", "exporting", "scoring")


def test_every_loss_that_a_service_refuses_has_its_way_out_on_the_page() -> None:
    page = (DEPLOY / "OPERATING.md").read_text(encoding="utf-8")
    sources = [
        path.read_text(encoding="utf-8") for name in SERVICES for path in (ROOT / "mira_stream" / name).glob("*.py")
    ]
    codes = {code for source in sources for code in re.findall(r"DataLossError\(\s*\"(\w+)\"", source)}
    assert codes >= {"progress_differs", "topic_made_anew", "state_lost"}
    assert {code for code in codes | {"no_mask"} if f"`{code}`" not in page} == set()
