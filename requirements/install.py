"""Sets up the environment from the hash-pinned lock: standard library only, safe to run again and again.

    python3 requirements/install.py            what mira-stream needs to run
    python3 requirements/install.py --dev      that, and what its tests need

1. a virtual environment (default .venv), 2. uv from the package index pip is pointed at, 3. every package of the
lock with `--no-deps --require-hashes`, by uv, or by pip if uv cannot, 4. this package, editable, 5. the broker's
jars into the user's cache, checked against their own list of hashes. A stamp in the environment says which lock it
holds: nothing is done when it already holds this one.

Where pip is pointed at a CPU build of torch (find-links or an index that offers `torch==<version>+cpu`), that
build is taken and the CUDA packages are left out. It has no pinned hash: its name and version are checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {False: ROOT / "requirements" / "cpu.lock", True: ROOT / "requirements" / "dev.lock"}
BOOTSTRAP = ROOT / "requirements" / "bootstrap.lock"
STAMP = ".mira-stream.json"
PYTHON_MIN = (3, 11)
CUDA_PACKAGES = re.compile(r"^(nvidia-|cuda-|triton$)")
FREE_GIB_MIN = {"cpu": 4, "cuda": 9}
SIZES = {
    "cpu": "about 0.8 GB to download and 3.3 GB on disk",
    "cuda": "about 3.1 GB to download (2.6 GB of it torch with its CUDA libraries) and 6.7 GB on disk",
}
PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}


class Block(NamedTuple):
    """One package of a lock: its name, its version, and its lines as they stand."""

    name: str
    version: str
    text: str


def main() -> int:
    arguments = _arguments()
    if sys.version_info < PYTHON_MIN:
        _with_newer_python()
    lock, environment = LOCKS[arguments.dev], Path(arguments.venv).absolute()
    stamp = _read_stamp(environment)
    if _holds(stamp, lock):
        print(f"environment {environment.name} holds {lock.name} already")
        return 0
    started = time.monotonic()
    python = environment / "bin" / "python"
    if not python.exists():
        _make_environment(environment)
    torch = arguments.torch if arguments.torch != "auto" else stamp.get("torch") or _torch_on_offer(python, lock)
    _announce(environment, torch, fresh=not stamp)
    _install_lock(python, environment, lock, torch)
    _install_package(python)
    _fetch_broker(python)
    _write_stamp(environment, lock, torch, dev=arguments.dev)
    print(f"environment ready after {time.monotonic() - started:.0f} s")
    return 0


def read_lock(path: Path) -> list[Block]:
    """The packages of a lock in file order."""
    blocks: list[Block] = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        match = re.match(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", line)
        if match:
            blocks.append(Block(match[1], match[2], line))
        elif blocks:
            last = blocks[-1]
            blocks[-1] = last._replace(text=last.text + line)
    return blocks


def without_cuda(blocks: list[Block]) -> list[Block]:
    """What is installed from the lock beside a CPU build of torch."""
    return [block for block in blocks if block.name != "torch" and not CUDA_PACKAGES.match(block.name)]


def torch_version(blocks: list[Block]) -> str:
    return next(block.version for block in blocks if block.name == "torch")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Set up mira-stream's environment from its hash-pinned lock.")
    parser.add_argument("--dev", action="store_true", help="also what the tests need")
    parser.add_argument("--venv", default=str(ROOT / ".venv"), help="where (default: .venv beside the README)")
    parser.add_argument(
        "--torch", choices=("auto", "cpu", "cuda"), default="auto", help="build of torch (default: auto)"
    )
    return parser.parse_args()


def _with_newer_python() -> NoReturn:
    """Go on in a newer Python of this machine, if there is one."""
    for minor in (13, 12, 11):
        path = shutil.which(f"python3.{minor}")
        if path and subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0:
            os.execv(path, [path, *sys.argv])
    have = ".".join(map(str, sys.version_info[:3]))
    _fail(f"Python {have} is too old", "install Python 3.11 or newer and run this with it")


def _make_environment(environment: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "venv", str(environment)], check=False)
    if done.returncode != 0:
        shutil.rmtree(environment, ignore_errors=True)
        _fail("Python could not make a virtual environment", "install its venv module (apt install python3-venv)")


def _torch_on_offer(python: Path, lock: Path) -> str:
    """`cpu` if what pip is pointed at offers the locked version as a CPU build, else `cuda`."""
    wanted = torch_version(read_lock(lock)) + "+cpu"
    command = [str(python), "-m", "pip", "index", "versions", "torch"]
    seen = subprocess.run(command, check=False, capture_output=True, text=True)
    versions = re.findall(r"[^\s,()]+", seen.stdout)
    return "cpu" if wanted in versions else "cuda"


def _announce(environment: Path, torch: str, *, fresh: bool) -> None:
    if fresh:
        print(f"Setting up {environment}: {SIZES[torch]}; 1 to 10 minutes, as fast as the network is.")
        free_gib = shutil.disk_usage(environment).free / 2**30
        if free_gib < FREE_GIB_MIN[torch]:
            _fail(
                f"{free_gib:.1f} GiB free on this disk",
                f"free {FREE_GIB_MIN[torch]} GiB, or name a place with --venv DIR",
            )
    else:
        print(f"Bringing {environment} up to date with the lock.")
    if torch == "cpu":
        print("torch: the CPU build that pip is pointed at (no pinned hash: name and version are checked).")
    sys.stdout.flush()


def _install_lock(python: Path, environment: Path, lock: Path, torch: str) -> None:
    blocks = read_lock(lock)
    _run_pip(python, "--require-hashes", "--no-deps", "-r", str(BOOTSTRAP))
    effective = environment / "effective.lock"
    chosen = without_cuda(blocks) if torch == "cpu" else blocks
    effective.write_text("".join(block.text for block in chosen), encoding="utf-8")
    if torch == "cpu":
        wanted = torch_version(blocks) + "+cpu"
        _run_pip(python, "--no-deps", f"torch=={wanted}")
        have = _output(python, "import importlib.metadata as m; print(m.version('torch'))")
        if have != wanted:
            _fail(
                f"torch {have} was installed where {wanted} was asked for",
                "see `pip config list`, or pass --torch cuda",
            )
    flags = ["--require-hashes", "--no-deps", "-r", str(effective)]
    by_uv = subprocess.run(uv_install(python, *flags), check=False, env=uv_environment(python))
    if by_uv.returncode != 0:
        print("uv could not install the lock; trying pip (slower).", flush=True)
        _run_pip(python, *flags)


def _install_package(python: Path) -> None:
    flags = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    if subprocess.run(uv_install(python, *flags), check=False, env=uv_environment(python)).returncode != 0:
        _run_pip(python, *flags)


def _fetch_broker(python: Path) -> None:
    code = "from mira_stream.broker_local.jars import class_path; class_path(talk=print)"
    if subprocess.run([str(python), "-c", code], check=False).returncode != 0:
        _fail("the embedded broker could not be fetched", "read the message above; is the network reachable?")


def uv_install(python: Path, *flags: str, into: Path | None = None) -> list[str]:
    """By the uv beside `python`, into its environment or that of the Python `into`."""
    return [str(python.parent / "uv"), "pip", "install", "--quiet", "--python", str(into or python), *flags]


def uv_environment(python: Path) -> dict[str, str]:
    """uv reads none of pip's configuration: hand it the indexes and certificates pip uses."""
    environment = dict(os.environ)
    listed = subprocess.run([str(python), "-m", "pip", "config", "list"], check=False, capture_output=True, text=True)
    for key, value in re.findall(r"^[^\s=]*?\.([a-z-]+)='(.*)'$", listed.stdout, re.MULTILINE):
        if key in PIP_TO_UV:
            environment.setdefault(PIP_TO_UV[key], value)
        elif key == "cert":
            environment.setdefault("SSL_CERT_FILE", value)
    # Hashes, not the order of indexes, say which file is the right one.
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment


def _run_pip(python: Path, *flags: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *flags]
    if subprocess.run(command, check=False).returncode != 0:
        _fail("pip could not install " + flags[-1], "read pip's message above; is the package index reachable?")


def _output(python: Path, code: str) -> str:
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()[:16]


def _read_stamp(environment: Path) -> dict[str, str]:
    try:
        stamp: dict[str, str] = json.loads((environment / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return stamp if stamp.get("root") == str(ROOT) else {}


def _holds(stamp: dict[str, str], lock: Path) -> bool:
    return stamp.get(lock.name) == _digest(lock)


def _write_stamp(environment: Path, lock: Path, torch: str, *, dev: bool) -> None:
    stamp = {"root": str(ROOT), "torch": torch, lock.name: _digest(lock)}
    if dev:  # the larger lock holds the smaller one
        stamp[LOCKS[False].name] = _digest(LOCKS[False])
    (environment / STAMP).write_text(json.dumps(stamp), encoding="utf-8")


def _fail(cause: str, fix: str) -> NoReturn:
    print(f"error: {cause}\n  do: {fix}", file=sys.stderr)
    raise SystemExit(4)


if __name__ == "__main__":
    sys.exit(main())
