"""Look for keys, tokens, passwords and addresses of private package indexes in the files that git tracks.

``python .ci/check_secrets.py [FILE ...]``: exit 1 where something looks like one, with file, line and kind, never the
value itself. Patterns find what has a form of its own; they cannot find a password that looks like a word.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

KINDS = {
    "private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "PyPI token": r"\bpypi-[A-Za-z0-9_-]{40,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"{}]+:[^\s/@'\"{}]+@",
    "value of a secret": r"(?i)\b(?:api_?key|secret|passwd|password|auth_?token|access_?token)\b['\"]?\s*[:=]\s*"
    r"['\"][^'\"\s{}$<>]{8,}['\"]",
    "private package index": r"(?i)(?:--(?:extra-)?index-url|index-url\s*=|PIP_(?:EXTRA_)?INDEX_URL|UV_INDEX\w*|"
    r"\bregistry\s*=)[\s=\"']*https?://(?!pypi\.org|files\.pythonhosted\.org|download\.pytorch\.org)",
    "private address": r"\bhttps?://(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+",
    "private host": r"\bhttps?://[\w.-]+\.(?:internal|corp|intranet|lan)\b",
}
_LARGEST = 5_000_000


def findings(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and kind of everything in a text that looks like a secret."""
    for kind, pattern in KINDS.items():
        for match in re.finditer(pattern, text):
            yield text.count("\n", 0, match.start()) + 1, kind


def scan(files: list[Path]) -> list[str]:
    """Return ``file:line: kind`` for each finding in these files; those that are no text are looked at as bytes."""
    found = []
    for file in files:
        if file.is_file() and file.stat().st_size <= _LARGEST:
            text = file.read_bytes().decode("utf-8", errors="replace")
            found += [f"{file}:{line}: {kind}" for line, kind in findings(text)]
    return sorted(found)


def tracked() -> list[Path]:
    """Return the files that git tracks here."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name]


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[1:]] or tracked()
    found = scan(files)
    print("\n".join([*found, f"{len(files)} files, {len(found)} findings"]))
    sys.exit(bool(found))
