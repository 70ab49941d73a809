"""Where a peer lives: its versions, and an environment of its own, made by uv when it is first needed."""

import asyncio
import sys
from pathlib import Path
from typing import Final, NamedTuple

BIN: Final = Path(sys.prefix) / "bin"
SITE: Final = Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


class Environment(NamedTuple):
    """`packages`: none for a peer that runs in the project's own environment. `over_ours`: what is not among them is
    taken from there, so that the CPU build of vLLM is the same one for all."""

    name: str
    packages: tuple[str, ...] = ()
    over_ours: bool = False

    @property
    def versions(self) -> str:
        return ", ".join(one for one in self.packages if "==" in one)


OURS: Final = Environment("ours")
DATATROVE: Final = Environment(
    "datatrove", ("datatrove==0.10.1", "aiofiles", "httpx", "aiosqlite", "xxhash", "orjson"), over_ours=True
)
RAY: Final = Environment(
    "ray",
    # `ray[llm]` itself asks for vllm==0.27.0 of the CUDA build: its other parts are named one by one.
    ("ray[data]==2.60.0", "aiohttp", "jinja2", "jsonref", "fastapi", "uvicorn", "typer", "ninja", "aiohttp-cors",
     "colorful", "smart_open", "grpcio", "opentelemetry-sdk", "opentelemetry-exporter-prometheus", "watchfiles"),
    over_ours=True,
)  # fmt: skip
QUIX: Final = Environment("quix", ("quixstreams==3.28.1",))
FASTSTREAM: Final = Environment("faststream", ("faststream-concurrent-aiokafka==0.7.2", "faststream[kafka]==0.7.8"))


class NotInstalled(Exception):
    """A peer that cannot be had here, in the installer's words."""


async def python_of(environment: Environment, folder: Path) -> Path:
    """Its interpreter; made under `folder` unless it is there. Raises NotInstalled."""
    if not environment.packages:
        return Path(sys.executable)
    home = folder / environment.name
    wanted, noted = "\n".join(environment.packages), home / "peer.txt"
    if not (noted.is_file() and noted.read_text() == wanted):
        await _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        if environment.over_ours:
            (home / "lib" / SITE.parent.name / "site-packages" / "zz_ours.pth").write_text(f"{SITE}\n")
        await _uv("pip", "install", "--quiet", "--python", str(home / "bin" / "python"), *environment.packages)
        noted.write_text(wanted)
    return home / "bin" / "python"


async def _uv(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        BIN / "uv", *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    if process.returncode:
        raise NotInstalled(errors.decode(errors="replace").strip()[-500:])
