"""What every benchmark shares: the demo's project, what may be asked, and how a benchmark ends."""

from pathlib import Path
from typing import Final

DEMO_PROJECT: Final = Path(__file__).parents[2] / "mira_stream" / "demo" / "project"
