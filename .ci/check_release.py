"""Refuse a tag that is not the version, or lacks its section of the changelog: ``.ci/check_release.py v0.2.0``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATED = {
    "pyproject.toml": r'^version = "(.+)"$',
    "yolo_attn/__init__.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
}


def version_in(file: str) -> str:
    """Return the version that a file states."""
    found = re.search(STATED[file], (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "none"


def problems(tag: str | None = None) -> list[str]:
    """Return how files and tag disagree."""
    versions = {file: version_in(file) for file in STATED}
    version = versions["pyproject.toml"]
    found = [f"{file} says {other}, pyproject.toml {version}" for file, other in versions.items() if other != version]
    if tag is None:
        return found
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, the version {version}")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version)}\]", changes, re.MULTILINE):
        found.append(f"CHANGELOG.md has no section [{version}]")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(*sys.argv[1:2])) or 0)
