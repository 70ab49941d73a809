"""Saved runs that were changed by hand: whatever is wrong is refused in a sentence, and nothing else of theirs is."""

import io
import resource
import signal
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

import orjson
import pytest

from mira_stream.benching import saving
from mira_stream.benching.load import Load
from mira_stream.benching.result import SCHEMA, Latency, Run, Turn, Window, block_of
from mira_stream.benching.saving import load_run, save
from mira_stream.cli.main import main
from mira_stream.errors import UsageError

LATENCY = Latency(10.0, 20.0, 30.0)
GROUP = {"mode": "scores", "served_modes": ["scores"], "engine": "vllm", "tensor_parallel_size": 1, "max_num_seqs": 64}
TURN = Turn(
    load=Load(documents=10), documents=10, dead_letters=1, seconds=10.0, latency_ms=LATENCY, prompt_tokens=1000,
    cached_tokens=250, generation_tokens=100, engine_busy=0.5, waiting=0.25, lag_mean=3.0, lag_most=9,
    peak_memory_mib=100.0, cpu_s=1.0, windows=[Window(start_s=0.0, seconds=10.0, documents=10, latency_ms=LATENCY)],
)  # fmt: skip
RUN = Run(
    schema=SCHEMA, kind="engine", measured="", stand_in="", taken_at="20260101T000000Z",
    machine={"processor": "p", "cores": 2, "memory_gib": 24.0, "gpus": [], "load_average": 2.0},
    versions={"python": "3.11.7"}, settings={"groups": {"text": GROUP}, "limits": {"in_flight_documents": 96}},
    load={"shape": "closed", "documents": 10, "groups": ["text"], "outstanding": 4}, notes=[],
    result=block_of([TURN]), turns=[TURN],
)  # fmt: skip


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return save(RUN, tmp_path)


def changed(path: Path, place: str, value: object) -> None:
    """`place`: names and numbers with points between."""
    table = found = orjson.loads(path.read_bytes())
    *before, last = (int(one) if one.isdigit() else one for one in place.split("."))
    for name in before:
        found = found[name]
    found[last] = value
    path.write_bytes(orjson.dumps(table))


WRONG: list[tuple[str, object]] = [
    ("machine.load_average", "high"), ("machine.load_average", -1.0), ("machine.cores", "two"), ("machine.cores", 0),
    ("machine.gpus", "H200"), ("machine.memory_gib", [24]), ("machine.processor", 7), ("machine", []),
    ("versions.python", 3.11), ("settings.groups.text.tensor_parallel_size", "two"), ("settings.groups.text.mode", 1),
    ("settings.groups.text.served_modes", "scores"), ("settings.groups.text.base_urls", "http://127.0.0.1"),
    ("settings.limits", 96), ("settings.partitions", "four"), ("load.shape", "wave"), ("load.documents", "many"),
    ("load.rate_per_s", "fast"), ("notes", "none"), ("notes", [1]), ("taken_at", "20261301T000000Z"),
    ("taken_at", "2026-01-01"), ("result.documents", 11), ("result.repetitions", 2), ("result.dead_letters", 0),
    ("result.documents_per_s", -1.0), ("result.engine_busy", 1.5), ("turns.0.engine_busy", 1.5),
    ("turns.0.waiting", -0.5), ("turns.0.lag_mean", -1.0), ("turns.0.lag_most", -1), ("turns.0.peak_memory_mib", -1.0),
    ("turns.0.cpu_s", -1.0), ("turns.0.latency_ms.p50", 1e-300), ("turns.0.latency_ms.p99", 1e308),
    ("turns.0.seconds", 1e-300), ("turns.0.prompt_tokens", 2.5), ("turns.0.load.documents", 0), ("turns", {}),
    ("kind", "tune"), ("stand_in", None),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_a_field_that_no_run_has_is_refused(whole: Path, place: str, value: object) -> None:
    assert load_run(whole) == RUN
    changed(whole, place, value)
    with pytest.raises(UsageError, match="bench_unreadable"):
        load_run(whole)


def deep(content: bytes) -> bytes:
    return content.replace(b'"vllm"', b"[" * 100_000 + b"]" * 100_000, 1)


@pytest.mark.parametrize("torn", [
    deep, lambda content: content[:-20], lambda content: b"", lambda content: b"[]", lambda content: b"null",
    lambda content: content.replace(b'"scores"', b'"\xff"', 1), lambda content: b"\xff\xfe" + content,
    lambda content: content.replace(b"2.0", b"NaN", 1), lambda content: content.replace(b"2.0", b"1e999", 1),
])  # fmt: skip
def test_a_file_that_is_no_run_is_refused(whole: Path, torn: Callable[[bytes], bytes]) -> None:
    content = torn(whole.read_bytes())
    assert content != whole.read_bytes()
    whole.write_bytes(content)
    with pytest.raises(UsageError, match="bench_unreadable"):
        load_run(whole)


PLAN = ["plan", "--documents", "10", "--mean-tokens", "100", "--reply-tokens", "10", "--run", "{}"]


@pytest.mark.parametrize("command", [["bench", "compare", "{}", "{}"], PLAN])
def test_a_command_says_so_in_a_sentence_and_ends_with_code_2(
    whole: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    changed(whole, "machine.load_average", "high")
    assert main([part.format(whole) for part in command]) == 2
    said = capsys.readouterr().err
    assert "Expected `float`, got `str` - at `$.machine.load_average`" in " ".join(said.split())
    assert "Traceback" not in said


def test_a_run_of_before_may_say_less(whole: Path) -> None:
    for place in ("machine", "load"):
        changed(whole, place, {})
    assert load_run(whole).turns == RUN.turns


def test_of_a_run_that_finds_no_room_no_part_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Path.open

    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(ENOSPC, "No space left on device")

    def opened(path: Path, mode: str) -> Full:
        begun(path, mode).close()
        return Full()

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(UsageError, match=r"out_unwritable: .*No space left"):
        save(RUN, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_room_is_refused_beforehand(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (saving.ROOM_BYTES - 1, limits[1]))
    try:
        with pytest.raises(UsageError, match="out_unwritable"):
            saving.check_out(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    saving.check_out(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("full", "code", "said"), [("plot.plot", 0, "no plot: No space left"), ("saving.save", 2, "")])
def test_what_was_measured_is_shown_though_the_folder_ran_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], full: str, code: int, said: str
) -> None:
    async def measure(*_: object) -> Run:
        return RUN

    def no_room(*_: object) -> None:
        error = OSError(ENOSPC, "No space left on device")
        raise error if full == "plot.plot" else saving._unwritable(tmp_path, error)

    monkeypatch.setattr("mira_stream.benching.running.measure", measure)
    monkeypatch.setattr(f"mira_stream.benching.{full}", no_room)
    project = Path(saving.__file__).parents[1] / "demo" / "project"
    asked = ["bench", "kafka", "--project", str(project), "--group", "text", "--documents", "4", "--out", str(tmp_path)]
    assert main(asked) == code
    found = capsys.readouterr()
    assert said in found.err
    assert "documents/s" in found.out + found.err
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"] * (code == 0)
