"""Folders of the checkout, and the environment of its processes."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS, TESTS, MODELS, RESULTS = ROOT / "tools", ROOT / "tests", ROOT / "cfg" / "models", ROOT / "docs" / "results"


def variables(**more: str) -> dict[str, str]:
    """Return environment variables with which another Python imports this checkout's package and instruments."""
    places = [str(ROOT), str(TOOLS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), **more}
