"""The doctor's verdicts from facts, and one examination of the demo's own project."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from mira_stream.cli.announced import Announced, announced
from mira_stream.cli.main import main
from mira_stream.config import Project, load_project
from mira_stream.doctor import broker_rules, rights_rules, rules
from mira_stream.doctor.broker_rules import BrokerFacts, TopicFacts
from mira_stream.doctor.project import _as_served, _lineage, _modes, project_checks
from mira_stream.doctor.verdict import WHOLE_S, Check, Finding, Status, Verdict, in_thread, ok, run_all
from mira_stream.errors import ConfigError, DataLossError, DependencyError
from mira_stream.openai_engine import OpenAIEngine
from mira_stream.records import TopicPartition
from mira_stream.reliability.table import save_table
from mira_stream.scoring.lineage import lineage
from mira_stream.selecting.wanted import project_policies
from mira_stream.streaming.ports import TopicSpec
from tests.machine import ROOT
from tests.unit.test_reliability_acceptance import project as in_expected
from tests.unit.test_reliability_acceptance import table

DEMO = Path(rules.__file__).parents[1] / "demo" / "project"
GIB = 2**30
AT = TopicPartition("mira.progress", 1)
DAY = 86_400_000
ALL = ("READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")

MACHINE: list[tuple[Verdict, Status]] = [
    (broker_rules.open_transactions([(AT, "under way"), (AT, "not owned")]), "ok"),
    (broker_rules.open_transactions([(AT, "not known")]), "warn"),
    (broker_rules.open_transactions([(AT, "not known"), (AT, "hangs")]), "fail"),
    (rules.python((3, 11, 7), 64), "ok"),
    (rules.python((3, 10, 9), 64), "fail"),
    (rules.python((3, 12, 0), 32), "fail"),
    (rules.packages({"a": {"1.0"}}, {"a": "1.0+cpu"}), "ok"),
    (rules.packages({"a": {"1.0", "1.1"}}, {"a": "1.1"}), "ok"),
    (rules.packages({"a": {"1.0"}}, {"a": "1.1"}), "fail"),
    (rules.packages({"a": {"1.0"}}, {}), "fail"),
    (rules.packages({"a": {"1.0"}}, {}, {"a"}), "ok"),
    (rules.packages({"a": {"1.0"}}, {"a": "2.0"}, {"a"}), "fail"),
    (rules.memory({"group g": 3 * GIB}, 4 * GIB, 4 * GIB), "ok"),
    (rules.memory({"group g": 3 * GIB}, 4 * GIB, 2 * GIB), "warn"),
    (rules.memory({"group g": 3 * GIB, "group h": 3 * GIB}, 4 * GIB, 4 * GIB), "fail"),
    (rules.memory({}, 1, 1), "skipped"),
    (rules.disk("x", 2**20), "fail"),
    (rules.disk("x", GIB), "warn"),
    (rules.disk("x", 50 * GIB), "ok"),
    (rules.data_dir(True, True, "ext4", ""), "ok"),
    (rules.data_dir(True, True, "nfs4", ""), "warn"),
    (rules.data_dir(False, True, "ext4", ""), "fail"),
    (rules.data_dir(True, False, "ext4", ""), "fail"),
    (rules.open_files(100), "fail"),
    (rules.open_files(1024), "warn"),
    (rules.open_files(65536), "ok"),
    (rules.processor(frozenset({"avx2"}), 1, 0), "ok"),
    (rules.processor(frozenset({"sse4_2"}), 1, 0), "fail"),
    (rules.processor(frozenset({"sse4_2"}), 1, 1), "ok"),
    (rules.processor(frozenset({"sse4_2"}), 0, 0), "skipped"),
    (rules.gpu(0, True, 1), "fail"),
    (rules.gpu(8, True, 8), "ok"),
    (rules.gpu(1, False, 1), "warn"),
    (rules.gpu(0, False, 1), "ok"),
    (rules.gpu(0, False, 8), "warn"),
    (rules.insecure_serialization("1"), "fail"),
    (rules.insecure_serialization(""), "ok"),
    (rules.proxies(["http_proxy"], "", ["gpu1"]), "warn"),
    (rules.proxies(["http_proxy"], "localhost, .lab", ["gpu1.lab"]), "ok"),
    (rules.proxies([], "", ["gpu1"]), "ok"),
    (rules.same_rubric("g", "a", "a", "a"), "ok"),
    (rules.same_rubric("g", "a", None, "a"), "warn"),
    (rules.same_rubric("g", "a", "b", "a"), "fail"),
    (rules.same_rubric("g", "a", "a", "b"), "fail"),
    (rules.context(500, 448, 160, 1280), "ok"),
    (rules.context(500, 448, 160, 1107), "fail"),
    (rules.tokenizer(3, 4096, 4096), "ok"),
    (rules.tokenizer(3, 4097, 4096), "fail"),
    (rules.tokenizer(0, 10, None), "warn"),
]


@pytest.mark.parametrize(("verdict", "status"), MACHINE)
def test_verdicts_on_machine_and_project(verdict: Verdict, status: Status) -> None:
    assert verdict.status == status
    assert bool(verdict.fix) == (status in ("warn", "fail")), "who is told of trouble is told what to do"


SPECS = [TopicSpec("m.documents.g", 4), TopicSpec("m.scores", 4, kept=True), TopicSpec("m.state", 4, compacted=True)]
WIDER = [spec._replace(partitions=8) for spec in SPECS]
CONFIGS = {"retention.ms": str(7 * DAY), "max.message.bytes": "17000000", "cleanup.policy": "delete"}


def facts(**changes: Any) -> BrokerFacts:
    """A healthy cluster of three; `topic` changes the documents' topic."""
    documents = TopicFacts(4, 3, 3, {**CONFIGS, "min.insync.replicas": "2"})
    topics = {
        "m.documents.g": documents._replace(**changes.pop("topic", {})),
        "m.scores": TopicFacts(4, 3, 3, {**CONFIGS, "retention.ms": "-1"}),
        "m.state": TopicFacts(4, 3, 3, {**CONFIGS, "cleanup.policy": "compact"}),
    }
    configs = {"offsets.retention.minutes": str(30 * 1440), "message.max.bytes": "17000000"}
    return BrokerFacts(3, frozenset({22, 25, 28}), configs, topics)._replace(**changes)


DOCUMENTS = ["m.documents.g"]
BROKER: list[tuple[Verdict, Status]] = [
    (broker_rules.version(facts(), False), "ok"),
    (broker_rules.version(facts(apis=frozenset({0, 1})), False), "fail"),
    (broker_rules.version(facts(apis=frozenset({22, 25, 28, 90})), False), "warn"),
    (broker_rules.version(facts(apis=frozenset({22, 25, 28, 90})), True), "ok"),
    (broker_rules.topics_there(SPECS, facts()), "ok"),
    (broker_rules.topics_there(SPECS, facts(topics={})), "warn"),
    (broker_rules.topics_there(SPECS, facts(topic={"partitions": 2})), "fail"),
    (broker_rules.topics_there(SPECS, facts(topic={"partitions": 8})), "ok"),
    (broker_rules.topics_there(WIDER, facts(topic={"partitions": 8}), ("m.scores", "m.state")), "ok"),
    (broker_rules.topics_there(WIDER, facts(), ("m.scores", "m.state")), "fail"),
    (broker_rules.score_log(None, 4), "ok"),
    (broker_rules.score_log(DataLossError("score_log_moved", "moved", "see there"), 8), "fail"),
    (broker_rules.policy_log(None, 4), "ok"),
    (broker_rules.policy_log(None, -1), "skipped"),
    (broker_rules.policy_log(DataLossError("policy_lost", "begins at 4", "restore it"), -1), "fail"),
    (broker_rules.cleanup(SPECS, facts()), "ok"),
    (broker_rules.cleanup(SPECS, facts(topic={"configs": {"cleanup.policy": "compact"}})), "fail"),
    (broker_rules.cleanup([TopicSpec("m.documents.g", 4, kept=True)], facts()), "fail"),
    (broker_rules.cleanup(SPECS, facts(topics={})), "skipped"),
    (broker_rules.replication(SPECS, facts(), 3), "ok"),
    (broker_rules.replication(SPECS, facts(brokers=1), 3), "fail"),
    (broker_rules.replication(SPECS, facts(), 1), "warn"),
    (broker_rules.replication(SPECS, facts(topic={"in_sync": 2}), 3), "warn"),
    (broker_rules.replication(SPECS, facts(topic={"configs": {"min.insync.replicas": "1"}}), 3), "warn"),
    (broker_rules.offsets_retention(facts(), DOCUMENTS), "ok"),
    (broker_rules.offsets_retention(facts(configs={"offsets.retention.minutes": "1440"}), DOCUMENTS), "warn"),
    (broker_rules.offsets_retention(facts(configs={}), DOCUMENTS), "skipped"),
    (broker_rules.offsets_retention(facts(topic={"configs": {"retention.ms": "-1"}}), DOCUMENTS), "warn"),
    (broker_rules.message_sizes(facts(), DOCUMENTS, 900_000), "ok"),
    (
        broker_rules.message_sizes(facts(topic={"configs": {"max.message.bytes": "1000000"}}), DOCUMENTS, 900_000),
        "fail",
    ),
    (broker_rules.message_sizes(facts(topics={}), DOCUMENTS, 16_000_000), "fail"),
    (broker_rules.clock_skew(100, 90, 110), "ok"),
    (broker_rules.clock_skew(5_000, 90, 110), "warn"),
    (rights_rules.topics("m", ["m.a"], {"m.a": ALL}, ()), "ok"),
    (rights_rules.topics("m", ["m.a"], {"m.a": {"READ", "DESCRIBE", "DESCRIBE_CONFIGS"}}, ALL), "fail"),
    (rights_rules.topics("m", ["m.a"], {"m.a": ()}, ALL), "fail"),
    (rights_rules.topics("m", ["m.a", "m.b"], {"m.a": ALL}, {"CREATE"}), "ok"),
    (rights_rules.topics("m", ["m.a", "m.b"], {"m.a": ALL}, {"DESCRIBE"}), "fail"),
    (rights_rules.groups("m", {"m.scorer.g": {"READ", "DESCRIBE"}}), "ok"),
    (rights_rules.groups("m", {"m.scorer.g": {"DESCRIBE"}}), "fail"),
    (rights_rules.groups("m", {}), "skipped"),
    (rights_rules.transactional_ids("m", {"m.produce.http": {"DESCRIBE"}}), "ok"),
    (rights_rules.transactional_ids("m", {"m.produce.http": ()}), "fail"),
    (broker_rules.clock_skew(90, 100_000, 100_010), "fail"),
]


@pytest.mark.parametrize(("verdict", "status"), BROKER)
def test_verdicts_on_the_broker(verdict: Verdict, status: Status) -> None:
    assert verdict.status == status
    assert bool(verdict.fix) == (status in ("warn", "fail"))


async def test_checks_run_side_by_side_and_none_holds_up_another() -> None:
    both = asyncio.Barrier(2)

    async def meets() -> Verdict:
        await both.wait()
        return ok("met")

    async def never() -> Verdict:
        await asyncio.Event().wait()
        return ok("no")

    async def down() -> Verdict:
        raise DependencyError("gone", "it is gone", "bring it back")

    def broken() -> Verdict:
        raise KeyError("x")

    checks = [Check("a", meets), Check("b", meets), Check("c", never, 0.01), Check("d", down)]
    found = await run_all([*checks, Check("e", lambda: in_thread(broken))])
    assert [one.status for one in found] == ["ok", "ok", "warn", "fail", "fail"]
    assert found[3].fix == "bring it back"


def test_the_demo_project_is_examined_and_an_edited_rubric_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(DEMO, project)
    monkeypatch.setattr("mira_stream.doctor.verdict.LIMIT_S", 60.0)  # other tests keep the cores busy
    monkeypatch.delenv("VLLM_ALLOW_INSECURE_SERIALIZATION", raising=False)

    def examined() -> tuple[int, dict[str, dict[str, str]]]:
        code = main(["doctor", "--project", str(project), "--json"])
        return code, {one["check"]: one for one in orjson.loads(capsys.readouterr().out)["checks"]}

    _, found = examined()
    assert len(found) >= 20
    lineage = [one for name, one in found.items() if name.startswith(("text:", "qa:", "agent:"))]
    assert {one["status"] for one in lineage} == {"ok"}, [one for one in lineage if one["status"] != "ok"]
    assert found["broker: reached"]["status"] == "skipped"
    rubric = project / "rubrics" / "qa.jsonl"
    rubric.write_bytes(rubric.read_bytes().replace(b'"score":', b'"score": ', 1))
    monkeypatch.setenv("VLLM_ALLOW_INSECURE_SERIALIZATION", "1")
    code, found = examined()
    assert code == 1
    for name in ("qa: one rubric", "qa: origin of the student", "qa: lineage of the table", "serialization"):
        assert found[name]["status"] == "fail", found[name]
        assert found[name]["fix"]
    assert found["text: one rubric"]["status"] == "ok"
    (project / "mira.toml").write_text("[nothing]\n")
    code, found = examined()
    assert (code, found["mira.toml"]["status"]) == (1, "fail")


@pytest.mark.parametrize(
    ("arguments", "check", "fix"),
    [
        (["own", "{file}"], "sources", "mira-stream pipeline --project"),
        (["own", "--catalog", "agent-4"], "agent-4: student", "hf download "),
        (["own", "--catalog", "agent-4"], "gpu", "where they are, with the `gpu` extra"),
    ],
)
def test_what_a_fresh_project_lacks_comes_with_a_way_that_leads_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], check: str, fix: str
) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": "1", "text": "a note"}\n')
    project = tmp_path / "own"
    assert main(["init", str(project), *(word.format(file=file) for word in arguments[1:])]) == 0
    capsys.readouterr()
    main(["doctor", "--project", str(project), "--json"])
    found = {one["check"]: one for one in orjson.loads(capsys.readouterr().out)["checks"]}
    assert fix in found[check]["fix"], found.keys()
    if check == "sources":
        assert main(["rubric", "place", "notes", "--project", str(project)]) == 1
        assert "mira-stream rubric group --project" in capsys.readouterr().err
    if check.endswith("student"):
        assert found[check]["fix"].endswith(f"--local-dir {project / 'students' / 'agent-4'}")


def test_a_broker_that_takes_connections_and_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mira.toml").write_text("groups = {}\n")
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        servers = f"127.0.0.1:{mute.getsockname()[1]}"
        code = main(["doctor", "--project", str(tmp_path), "--bootstrap-servers", servers, "--json"])
    found = {one["check"]: one for one in orjson.loads(capsys.readouterr().out)["checks"]}
    assert (code, found["broker: reached"]["status"]) == (1, "fail")
    assert "does not answer" in found["broker: reached"]["said"]
    others = {one["status"] for name, one in found.items() if name.startswith("broker: ") and "reached" not in name}
    assert others == {"ok", "skipped"}, "one fault is told once"


@pytest.mark.parametrize("lives", [True, False])
def test_a_kafka_of_its_own_that_is_dead_beside_living_services_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lives: bool
) -> None:
    """Beside dead ones, which were killed and left their file, it has not been started."""
    (tmp_path / "mira.toml").write_text("groups = {}\n")
    ended = subprocess.Popen(["true"])
    ended.wait()
    with announced(tmp_path, [Announced("score", "http://127.0.0.1:1", os.getpid() if lives else ended.pid)]):
        code = main(["doctor", "--project", str(tmp_path), "--json"])
    found = {one["check"]: one for one in orjson.loads(capsys.readouterr().out)["checks"]}
    assert found["broker: reached"]["status"] == ("fail" if lives else "skipped")
    assert code == 1 or not lives


def test_hours_between_clocks_are_a_time_zone() -> None:
    hours = broker_rules.clock_skew(2 * 3_600_000 + 3_000, 0, 10)
    assert (hours.status, "2 hours" in hours.said, "UTC" in hours.fix) == ("fail", True, True)
    assert "hours" not in broker_rules.clock_skew(10 * 60_000, 0, 10).said


def test_a_right_that_is_missing_is_named_with_the_command_that_gives_it() -> None:
    verdict = rights_rules.topics("m", ["m.a"], {"m.a": ("READ", "DESCRIBE", "DESCRIBE_CONFIGS")}, ())
    assert "m.a lacks WRITE" in verdict.said
    assert "--topic m. --resource-pattern-type prefixed" in verdict.fix


async def test_the_whole_has_a_limit_whatever_its_checks_allow_themselves() -> None:
    let_go = threading.Event()

    async def never() -> Verdict:
        await asyncio.Event().wait()
        raise AssertionError

    async def stuck() -> Verdict:
        """In a thread that nobody can take back."""
        return await in_thread(lambda: ok(str(let_go.wait(3600))))

    async def at_once() -> Verdict:
        return ok("here")

    slow = [Check(f"slow {number}", never, 3600.0) for number in range(20)]
    async with asyncio.timeout(60):
        found = await run_all([*slow, Check("thread", stuck, 3600.0), Check("quick", at_once)], whole_s=0.2)
    let_go.set()
    assert [one.status for one in found] == ["warn"] * 21 + ["ok"]
    assert "within 0.2 s" in found[0].said
    assert WHOLE_S <= 5.0


async def test_an_engine_is_opened_beside_the_loop_that_counts_the_time_of_all_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = 'family = "text"\nengine = "openai"\nbase_urls = ["http://127.0.0.1:1/v1"]\n'
    (tmp_path / "mira.toml").write_text(f"[groups.g]\n{served}")
    opened_in: list[threading.Thread] = []

    def open_engine(project: Project, group: str) -> OpenAIEngine:
        opened_in.append(threading.current_thread())
        raise DependencyError("endpoint_down", "nobody there", "start it")

    monkeypatch.setattr(OpenAIEngine, "for_group", open_engine)
    checks = project_checks(load_project(tmp_path, {}), {})
    (found,) = await run_all([check for check in checks if check.name == "g: endpoints"], whole_s=60)
    assert (found.status, found.said) == ("fail", "endpoint_down: nobody there")
    assert opened_in != [threading.current_thread()]


LATE = """
import asyncio, sys, threading, time
from mira_stream.doctor import verdict
given_up = threading.Event()
def late():
    given_up.wait()
    time.sleep(0.3)
    print("late")
    return verdict.ok("")
verdict.LEAVE_S = float(sys.argv[2])
work = {"late": late, "never": threading.Event().wait}[sys.argv[1]]
found = asyncio.run(verdict.run_all([verdict.Check("one", lambda: verdict.in_thread(work))], 0.05))
print(found[0].status)
given_up.set()
"""


@pytest.mark.parametrize(("work", "leave_s", "said"), [("late", 60.0, ["warn", "late"]), ("never", 0.1, ["warn"])])
def test_the_process_ends_behind_a_check_that_is_late_and_without_one_that_hangs(
    work: str, leave_s: float, said: list[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, work, str(leave_s)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, said, "")


IMPORTED_MEANWHILE = """
import asyncio, pathlib, sys
from mira_stream.cli import doctor
from mira_stream.doctor import verdict
run_all = verdict.run_all
async def watched(checks):
    before = set(sys.modules)
    found = await run_all(checks)
    print("late:", *sorted(one for one in set(sys.modules) - before if one.startswith(("mira_stream.", "aiokafka."))))
    return found
verdict.run_all = watched
asyncio.run(doctor._examined(pathlib.Path(sys.argv[1]), "127.0.0.1:1", (), True))
"""


def test_nothing_is_imported_while_the_checks_time_runs() -> None:
    """An event loop that imports answers nobody: on a busy machine most checks would be found without an answer."""
    project = ROOT / "mira_stream" / "demo" / "project"
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED_MEANWHILE, str(project)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    late = {one for one in done.stdout.partition("late:")[2].split() if "kafka" in one or "openai_engine" in one}
    assert late == set()


@pytest.mark.parametrize(
    ("status", "strict", "code"),
    [("ok", True, 0), ("skipped", True, 0), ("warn", False, 0), ("warn", True, 1), ("fail", False, 1)],
)
def test_a_gate_may_ask_that_nothing_is_left_unknown(
    status: Status, strict: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def examined(*_: object) -> list[Finding]:
        return [Finding("transaction", status, "not known: no answer within 3 s", "run it again")]

    monkeypatch.setattr("mira_stream.cli.doctor._examined", examined)
    assert main(["doctor", *(["--strict"] if strict else [])]) == code


@pytest.mark.parametrize(
    ("n", "way_out"),
    [(300, "[labels] heldout = 500 or more (of each source; it is 200), then mira-stream label --group text"),
     (700, 'mode = "scores" of the group')],
)  # fmt: skip
def test_a_mode_that_is_not_accepted_has_the_way_out_of_its_cause(tmp_path: Path, n: int, way_out: str) -> None:
    project = in_expected(tmp_path)
    path = project.reliability_path("text")
    path.parent.mkdir()
    save_table(path, table(n=n))
    said = _modes(project, "text")
    assert said.status == "warn"
    assert said.fix.startswith(way_out)
    save_table(path, table("*", "docs", "stdlib"))
    assert _modes(project, "text").status == "ok"


def test_a_mode_that_was_not_measured_is_said_with_what_to_run(tmp_path: Path) -> None:
    project = in_expected(tmp_path)
    path = project.reliability_path("text")
    path.parent.mkdir()
    now = lineage(project.judged_as("text", replace(project.settings.groups["text"], mode="scores")), "text")
    save_table(path, replace(table(), modes={"scores": replace(table().modes["scores"], lineage=now)}))
    said = _modes(project, "text")
    assert said.status == "warn"
    assert said.said.startswith("all sources: judged in mode scores, mode expected was not measured")
    assert said.fix.startswith("measure it: mira-stream reliability --group text")
    assert (_lineage(project, "text").status, now in _lineage(project, "text").said) == ("ok", True)


async def test_a_head_that_is_not_trained_yet_is_no_failure_while_scores_serve(tmp_path: Path) -> None:
    """One answer: the student of mode scores is looked at, and what is missing for the head is said once."""
    remote = in_expected(tmp_path, 'mode = "head"')
    project = remote.judged_as("text", replace(remote.settings.groups["text"], engine="vllm", base_urls=[]))
    path = project.reliability_path("text")
    path.parent.mkdir()
    save_table(path, table())
    assert _as_served(project, "text").settings.groups["text"].mode == "scores"
    said = _modes(project, "text")
    assert said.status == "warn"
    assert "judged in mode scores" in said.said
    assert said.fix.startswith("train it: mira-stream distill --head --group text")
    assert "then measure it: mira-stream reliability --group text" in said.fix
    assert "mode_pinned" not in said.fix, "that gives it no masks"
    found = {one.check: one for one in await run_all(project_checks(project, {}))}
    assert "students/text holds no student" in found["text: student"].said
    path.unlink()
    alone = {one.check: one for one in await run_all(project_checks(project, {}))}
    assert "student_missing" in alone["text: student"].said
    assert "text.head" in alone["text: student"].said


def test_pinning_a_mode_gives_it_no_masks_and_that_is_said_once(tmp_path: Path) -> None:
    project = in_expected(tmp_path, 'mode = "expected"\nmode_pinned = true')
    path = project.reliability_path("text")
    path.parent.mkdir()
    measured = table()
    save_table(path, replace(measured, modes={"scores": measured.modes["scores"]}))
    said = _modes(project, "text")
    assert said.status == "fail"
    assert said.said.startswith("mode expected (pinned) has no masks and cannot be served")
    assert "measure it: mira-stream reliability --group text" in said.fix
    assert "without mode_pinned sources are judged in mode scores" in said.fix
    assert _lineage(project, "text").status == "skipped"
    with pytest.raises(ConfigError, match="mode_unmeasured"):
        project_policies(project, lambda *_: "l", lambda *_: {})
    save_table(path, measured)
    assert _modes(project, "text") == ok("all in mode expected (pinned)")
