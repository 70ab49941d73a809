"""deploy/ as its own tools read it: promtool, docker-compose, helm, hadolint, kubernetes-validate. Skipped where one is
not there; `make test-tools` gets them."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from mira_stream.http import PROBES
from tests.deploy.test_own import CHART, DEPLOY, dashboard_expressions, understood
from tests.machine import need, run

pytestmark = pytest.mark.tools

RULE_TESTS = ("alerts_test.yaml", "objectives_test.yaml")
CHECK = ("--values", str(CHART / "values-check.yaml"))
GPU = (*CHECK, "--values", str(CHART / "values-gpu.yaml"))
KUBERNETES = "1.33.0"
"""A helm that was compiled without its release's flags takes a far older one for granted."""
OWN_KINDS = {"PodMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds of operators: their schemas do not come with Kubernetes'."""


def test_prometheus_reads_its_configuration_and_the_rules() -> None:
    done = run(need("promtool"), "check", "config", "deploy/prometheus/prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", RULE_TESTS)
def test_alerts_fire_where_they_must_and_only_there(name: str) -> None:
    done = run(need("promtool"), "test", "rules", f"deploy/prometheus/{name}")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "before", "after"),
    [
        ("MiraEngineStalled", "_age_seconds) > 30", "_age_seconds) > 3000"),
        ("MiraRetentionHeadroomLow", '_ratio"}) < 0.5', '_ratio"}) < 0.95'),
    ],
)
def test_the_tests_of_the_alerts_can_fail(tmp_path: Path, alert: str, before: str, after: str) -> None:
    """With its threshold moved, promtool must object to an alert's tests: else they test nothing."""
    rules = (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yaml").read_text())
    tests["tests"] = [one for one in tests["tests"] if alert in one["name"]]
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(tests))
    assert before in rules
    for text, passes in ((rules, True), (rules.replace(before, after), False)):
        (tmp_path / "alerts.yaml").write_text(text)
        done = run(need("promtool"), "test", "rules", str(tmp_path / "t.yaml"))
        assert (done.returncode == 0) == passes, done.stdout + done.stderr


def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    queries = [query for where, query in dashboard_expressions() if where != "variable"]
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = run(need("promtool"), "check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_file_is_read_and_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRA_HTTP_TOKEN", "0123456789abcdef")
    done = run(need("docker-compose"), "-f", "compose.yaml", "config", "--format", "json", folder=DEPLOY / "compose")
    assert done.returncode == 0, done.stdout + done.stderr
    services = json.loads(done.stdout)["services"]
    assert {"kafka", "topics", "producer", "scorer", "aggregator", "exporter"} <= services.keys()
    mounts = [mount["source"] for one in services.values() for mount in one.get("volumes", ())]
    assert all(Path(source).exists() for source in mounts if source.startswith("/"))


def test_compose_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIRA_HTTP_TOKEN", raising=False)
    done = run(need("docker-compose"), "-f", "compose.yaml", "config", folder=DEPLOY / "compose")
    assert done.returncode != 0
    assert "openssl rand -hex 32" in done.stderr


def test_dockerfile_has_no_finding() -> None:
    done = run(need("hadolint"), "deploy/container/Dockerfile")
    assert done.returncode == 0, done.stdout


# -- the chart --


@cache
def template(*values: str) -> list[dict[str, Any]]:
    """What Kubernetes is given; nobody changes it."""
    done = run(
        need("helm"), "template", "stream", str(CHART), "--kube-version", KUBERNETES, "--namespace", "mira", *values
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def containers(rendered: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pods = [one["spec"]["template"]["spec"] for one in rendered if one["kind"] in ("StatefulSet", "Job", "Deployment")]
    return [container for pod in pods for container in pod["containers"]]


@pytest.mark.parametrize("values", [CHECK, GPU], ids=["everything", "gpu"])
def test_chart_has_no_finding(values: tuple[str, ...]) -> None:
    done = run(need("helm"), "lint", "--strict", str(CHART), *values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", [CHECK, GPU], ids=["everything", "gpu"])
def test_chart_runs_commands_that_exist_without_rights(values: tuple[str, ...]) -> None:
    rendered = template(*values)
    for container in containers(rendered):
        understood([str(argument).replace("$(POD_NAME)", "stream-0") for argument in container["args"]])
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["capabilities"]["drop"] == ["ALL"]
    secrets = [env for container in containers(rendered) for env in container["env"] if "PASSWORD" in env["name"]]
    assert all("valueFrom" in env or env["value"] == "MIRA_SASL_PASSWORD" for env in secrets)


def test_chart_gives_every_group_stable_names_and_time_to_drain() -> None:
    sets = {one["metadata"]["name"]: one for one in template(*CHECK) if one["kind"] == "StatefulSet"}
    assert {
        "stream-mira-stream-score-text",
        "stream-mira-stream-score-qa",
        "stream-mira-stream-score-agent",
    } <= sets.keys()
    for one in sets.values():
        pod = one["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == 10 + 8 + 12
        assert pod["securityContext"]["runAsNonRoot"]
        assert "$(POD_NAME)" in pod["containers"][0]["args"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert pod["containers"][0][probe]["httpGet"]["port"] == "metrics"
    longer = {one["metadata"]["name"]: one for one in template(*CHECK, "--set-json", "limits.drainSeconds=45.5")}
    assert longer["stream-mira-stream-score-qa"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 66


def test_chart_gives_every_service_what_the_operator_adds() -> None:
    for container in containers(template(*CHECK)):
        values = {env["name"]: env.get("value") for env in container["env"]}
        assert values["MIRA_BROKER__SSL_CERTFILE"] == "/etc/mira/client/user.crt"
        assert values["MIRA_BROKER__SSL_KEYFILE"] == "/etc/mira/client/user.key"
        assert {"name": "client", "mountPath": "/etc/mira/client", "readOnly": True} in container["volumeMounts"]
        (key,) = [env for env in container["env"] if env["name"] == "OPENAI_API_KEY"]
        assert key["valueFrom"]["secretKeyRef"] == {"name": "teacher", "key": "key"}


def test_chart_takes_documents_by_one_process_behind_a_token() -> None:
    found = {(one["kind"], one["metadata"]["name"]): one for one in template(*CHECK)}
    name = "stream-mira-stream-produce"
    deployment = found["Deployment", name]["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    (token,) = [env for env in container["env"] if env["name"] == "MIRA_HTTP_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "mira-posting", "key": "token"}
    assert container["args"][:4] == ["produce", "http", "--host", "$(POD_IP)"]
    assert {port["name"] for port in container["ports"]} == {"http", "metrics"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    service = found["Service", name]["spec"]
    assert service["selector"].items() <= deployment["template"]["metadata"]["labels"].items()
    assert service["ports"][0]["targetPort"] == "http"
    assert found["NetworkPolicy", name]["spec"]["ingress"][0]["ports"] == [{"port": 8086}]
    assert not [
        one for one in template(*GPU, "--set", "producer.enabled=false") if "produce" in one["metadata"]["name"]
    ]


def test_chart_shows_the_stream_behind_a_token() -> None:
    found = {(one["kind"], one["metadata"]["name"]): one.get("spec", {}) for one in template(*CHECK)}
    name = "stream-mira-stream-dashboard"
    pod = found["Deployment", name]["template"]
    (container,) = pod["spec"]["containers"]
    (token,) = [env for env in container["env"] if env["name"] == "MIRA_DASHBOARD_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "mira-watching", "key": "token"}
    kinds = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert {kind: container[kind]["httpGet"] for kind in kinds} == {
        kind: {"path": path, "port": "http"} for kind, path in kinds.items()
    }
    assert set(kinds.values()) == set(PROBES)
    asked = [one.partition("=dns+http://") for one in container["args"] if "=" in one]
    assert [service for service, _, _ in asked] == ["produce", "score", "aggregate", "export"]
    for component, _, address in asked:
        host, _, port = address.partition(":")
        service = found["Service", host]
        assert (service["clusterIP"], port) == ("None", "9464")
        assert service["selector"]["app.kubernetes.io/component"] == component
    assert found["Service", name]["selector"].items() <= pod["metadata"]["labels"].items()
    assert found["NetworkPolicy", name]["ingress"][0]["ports"] == [{"port": 8321}]
    (_, from_dashboard) = found["NetworkPolicy", "stream-mira-stream"]["ingress"]
    assert from_dashboard["from"][0]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert not [
        one for one in template(*GPU, "--set", "dashboard.enabled=false") if "-metrics" in one["metadata"]["name"]
    ]


def test_chart_scales_by_lag_and_slowly_down() -> None:
    scaled = [one["spec"] for one in template(*CHECK) if one["kind"] == "ScaledObject"]
    assert [one["scaleTargetRef"]["name"] for one in scaled] == ["stream-mira-stream-score-text"]
    assert scaled[0]["maxReplicaCount"] <= 4
    by_offsets = template(*CHECK, "--set", "keda.trigger=kafka,keda.minReplicas=0")
    kafka = next(one["spec"] for one in by_offsets if one["kind"] == "ScaledObject")["triggers"][0]
    assert (kafka["type"], kafka["metadata"]["consumerGroup"]) == ("kafka", "mira.scorer.text")


OWN, COMMITTED = "mira_lag_seconds", "mira_committed_lag_seconds"


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ({f'{OWN}{{partition="0",%}}': 7, f'{OWN}{{partition="1",%}}': 90, f"{COMMITTED}{{%}}": 300}, 90),
        ({f'{OWN}{{partition="0",%}}': 0, f"{COMMITTED}{{%}}": 300}, 0),  # one slow document calls for no engine
        ({f"{COMMITTED}{{%}}": 300}, 300),  # no scorer lives: what waits must wake one
        ({f"{COMMITTED}{{%}}": 0}, 0),
        ({}, None),  # nobody knows: nothing is scaled
    ],
)
def test_chart_scales_by_what_is_known_of_the_age_of_documents(
    shown: dict[str, int], wanted: int | None, tmp_path: Path
) -> None:
    found = template(*CHECK, "--set", "keda.minReplicas=0")
    (spec,) = [one["spec"] for one in found if one["kind"] == "ScaledObject"]
    assert spec["minReplicaCount"] == 0
    rule = {"record": "keda", "expr": spec["triggers"][0]["metadata"]["query"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "keda", "rules": [rule]}]}))
    labels = 'project="mira",topic="mira.documents.text"'
    others = [f'{name}{{project="{project}",topic="mira.documents.{group}"}}'
              for name in (OWN, COMMITTED) for project, group in (("mira", "qa"), ("other", "text"))]  # fmt: skip
    values = {name.replace("%", labels): f"{value}x5" for name, value in shown.items()} | dict.fromkeys(others, "999x5")
    world = {
        "interval": "1m",
        "input_series": [{"series": series, "values": value} for series, value in values.items()],
        "promql_expr_test": [
            {"expr": "keda", "eval_time": "3m"}
            | ({"exp_samples": [{"labels": "keda", "value": wanted}]} if wanted is not None else {})
        ],
    }
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [world]}))
    done = run(need("promtool"), "test", "rules", str(tmp_path / "t.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("keda.cooldownSeconds=60", "longer than engine.startSeconds"),
        ("topics.partitions=2", "more than topics.partitions"),
        ("exporter.replicas=2", "ReadWriteMany"),
        ("broker.bootstrapServers=", "bootstrapServers must be given"),
        ("project.inImage=true", "either project.existingClaim"),
        ("broker.passwordSecret.name=", "passwordSecret.name"),
        ("broker.securityProtocol=TLS", "securityProtocol"),
        ("producer.tokenSecret.name=", "tokenSecret.name"),
        ("dashboard.tokenSecret.name=", "dashboard.tokenSecret.name"),
        ("engine.startSeconds=2400,keda.cooldownSeconds=3600", "at most 1800"),
        ("kedaa.enabled=true", "kedaa"),
        ("keda.cooldown=60", "cooldown"),
        ("exporter.replica=2", "replica"),
    ],
)
def test_chart_refuses_what_would_not_run(settings: str, said: str) -> None:
    done = run(need("helm"), "template", "stream", str(CHART), "--kube-version", KUBERNETES, *CHECK, "--set", settings)
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("values", [CHECK, GPU], ids=["everything", "gpu"])
def test_kubernetes_knows_every_field(values: tuple[str, ...], tmp_path: Path) -> None:
    """Kubernetes' own schemas, strictly; the operators' kinds are left out."""
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(one for one in template(*values) if one["kind"] not in OWN_KINDS))
    done = run(need("kubernetes-validate"), "--strict", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"(?i)\b(error|fail)", done.stdout), done.stdout
