"""Refuse a tag that is not the version, or lacks its section of the changelog or its checkpoints.

``python .ci/check_release.py v0.2.0``; without a tag only that all files state the same version.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATED = {
    "pyproject.toml": r'^version = "(.+)"$',
    "yolo_attn/util/version.py": r'^__version__ = "(.+)"$',
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
    section = re.search(rf"^## \[{re.escape(version)}\] - (\S+)$", changes, re.MULTILINE)
    if not section:
        found.append(f"CHANGELOG.md has no section [{version}] with a date")
    elif f"date-released: {section[1]}\n" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8"):
        found.append(f"CITATION.cff has another date than CHANGELOG.md, {section[1]}")
    if not (ROOT / "tests" / "fixtures" / "checkpoints" / version).is_dir():
        found.append(f"tests/fixtures/checkpoints has no {version}")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems(*sys.argv[1:2])) or 0)
