"""Command lines of ``tools/versions.py`` and ``tools/canary.py``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from instruments.contract import table
from instruments.contract.releases import newest_release, requirements, try_release
from instruments.paths import RESULTS
from yolo_attn.errors import YoloAttnError
from yolo_attn.util import jsonl
from yolo_attn.util.files import write_whole
from yolo_attn.util.words import log_to_stderr

STORED = RESULTS / "versions.jsonl"


def try_releases(words: Sequence[str], results: Path = STORED) -> int:
    """Try releases one after the other, append a row for each, and write the table next to the rows.

    Args:
        words: Releases, see :func:`instruments.contract.releases.requirements`.
        results: Where rows are appended.

    Returns:
        The exit code: 0, 1 where a release breaks a promise, 2 where one could not be tried.
    """
    code = 0
    try:
        for wanted in [requirements(word) for word in words]:
            row = try_release(wanted, block_tests=len(wanted) > 1, log=log_to_stderr("versions"))
            jsonl.append(results, row)
            code = 1 if table.failures(row) else code
        write_whole(results.with_suffix(".md"), table.to_page(table.read(results)))
    except YoloAttnError as error:
        print(f"versions: {error}", file=sys.stderr)
        return 2
    print(f"wrote {results.with_suffix('.md')}")
    return code


def try_newest() -> int:
    """Try the newest release and print its row.

    Returns:
        The exit code: 0, 1 where it breaks a promise, 2 where it could not be tried.
    """
    try:
        row = try_release([f"ultralytics=={newest_release()}"], log=log_to_stderr("canary"))
    except YoloAttnError as error:
        print(f"canary: {error}", file=sys.stderr)
        return 2
    print(table.to_markdown([row]))
    return 1 if table.failures(row) else 0


def versions(words: Sequence[str] | None = None) -> int:
    """Run ``tools/versions.py``."""
    parser = argparse.ArgumentParser(description="Try the contract on releases of Ultralytics and write the table.")
    parser.add_argument("releases", nargs="*", metavar="RELEASE[,REQUIREMENT...]", help="8.3.0 or 8.3.0,torch==2.4.1")
    return try_releases(parser.parse_args(words).releases)


def canary(words: Sequence[str] | None = None) -> int:
    """Run ``tools/canary.py``."""
    description = "Try the contract on the newest release of Ultralytics that the package index has."
    argparse.ArgumentParser(description=description).parse_args(words)
    return try_newest()
