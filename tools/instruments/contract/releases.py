"""Run the contract's tests on other releases than the installed ones, each in a virtual environment of its own.

Such an environment has the packages of the running one on its path, behind its own: pip installs the requested releases
and what they need, and nothing else is downloaded twice.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from instruments.contract.promises import FAILED, OK, outcomes
from instruments.paths import ROOT, TESTS, variables
from yolo_attn.errors import YoloAttnError

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "yolo-attn" / "releases"
BLOCK_TESTS = (
    "test_blocks_equations.py", "test_blocks_backward.py", "test_blocks_contract.py", "test_blocks_maps.py",
    "test_blocks_interface.py",
)  # fmt: skip
SECONDS = 3600

Log = Callable[[str], None]
Row = dict[str, Any]


def requirements(word: str) -> list[str]:
    """Parse a release from the command line into requirements.

    Args:
        word: A release of Ultralytics and, after commas, further requirements.

    Examples:
        >>> requirements("8.3.0,torch==2.4.1,numpy<2")
        ['ultralytics==8.3.0', 'torch==2.4.1', 'numpy<2']

    Raises:
        YoloAttnError: If it does not begin with a release number.
    """
    release, *others = word.split(",")
    if not re.fullmatch(r"\d+\.\d+\.\d+", release):
        raise YoloAttnError(f"'{word}' is not a release; give one like 8.3.0 or 8.3.0,torch==2.4.1,numpy<2")
    return [f"ultralytics=={release}", *others]


def newest_release() -> str:
    """Return the newest release of Ultralytics in the configured package index.

    Raises:
        YoloAttnError: If the index cannot be asked.
    """
    asked = ["install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", "-", "ultralytics"]
    return json.loads(pip(sys.executable, *asked))["install"][0]["metadata"]["version"]


def environment_with(wanted: Sequence[str], cache: Path = CACHE) -> Path:
    """Return the interpreter of an environment with these requirements; create the environment if needed.

    Args:
        wanted: Requirements as pip takes them.
        cache: Folder of the environments.

    Raises:
        YoloAttnError: If they cannot be installed.
    """
    folder = cache / re.sub(r"[^\w.]+", "-", " ".join(wanted))
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.is_file():
        venv.create(folder, clear=True, with_pip=False, symlinks=True)
        own = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        )
        behind = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
        Path(own.stdout.strip(), "_behind.pth").write_text("\n".join(behind) + "\n")
        pip(str(python), "install", "--quiet", *wanted)
        complete.write_text("\n".join(wanted))
    return python


def pip(python: str, *words: str) -> str:
    """Run pip for an interpreter, and return what it prints.

    Raises:
        YoloAttnError: If pip fails.
    """
    done = subprocess.run([sys.executable, "-m", "pip", "--python", python, *words], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise YoloAttnError(f"pip {' '.join(words)}: {errors[-1] if errors else 'failed'}")
    return done.stdout


def try_release(wanted: Sequence[str], cache: Path = CACHE, block_tests: bool = False, log: Log = print) -> Row:
    """Run the contract's tests with these requirements and return a row of results.

    Args:
        wanted: Requirements as pip takes them.
        cache: Folder of the environments.
        block_tests: Run the blocks' tests too, which depend on torch alone; they take minutes.
        log: Receives progress lines.

    Returns:
        ``requirements``, ``environment``, ``outcomes`` and, if the process did not come to its end, ``ended``.

    Raises:
        YoloAttnError: If the requirements cannot be installed.
    """
    log(f"installing {' '.join(wanted)}")
    python = environment_with(wanted, cache)
    row = {"requirements": list(wanted), "environment": _environment(python), **_contract(python, log)}
    if block_tests:
        row["outcomes"].append(_block_tests(python))
        log(f"block tests: {row['outcomes'][-1]['detail']}")
    return row


def _environment(python: Path) -> dict[str, Any]:
    code = "import json; from yolo_attn.util.env import environment; print(json.dumps(environment()))"
    done = subprocess.run([python, "-c", code], env=variables(), capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


def contract_tests() -> list[Path]:
    """Return the files with tests of the contract; others may not import with an older release."""
    return [file for file in sorted(TESTS.rglob("test_*.py")) if "mark.contract(" in file.read_text(encoding="utf-8")]


def _contract(python: Path, log: Log) -> dict[str, Any]:
    """Run the contract's tests in one worker process, which is replaced if it crashes."""
    with tempfile.TemporaryDirectory(prefix="yolo-attn-") as scratch:
        report = Path(scratch, "report.xml")
        words = ["-m", "contract and not campaign", "-n", "1", "--dist", "loadfile", "-v", f"--junitxml={report}"]
        code, last = _pytest(python, [*words, *map(str, contract_tests())], log)
        return {
            "outcomes": outcomes(report.read_text(encoding="utf-8")) if report.is_file() else [],
            "ended": "" if code in (0, 1) else f"exit code {code}: {last}",
        }


def _pytest(python: Path, words: Sequence[str], log: Log) -> tuple[int, str]:
    """Run pytest, log failures, and return the exit code and the last line."""
    command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "--tb=line", *words]
    process = subprocess.Popen(
        command,
        env=variables(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    limit = threading.Timer(SECONDS, process.kill)
    limit.start()
    last = "no output"
    for line in process.stdout or ():
        last = line.strip("= \n") or last
        if re.search(r"\b(FAILED|ERROR|SKIPPED)\b", line):
            log(line.strip())
    code = process.wait()
    limit.cancel()
    return code, last


def _block_tests(python: Path) -> dict[str, Any]:
    began = time.perf_counter()
    code, last = _pytest(python, [str(TESTS / "blocks" / file) for file in BLOCK_TESTS], lambda line: None)
    seconds = round(time.perf_counter() - began, 1)
    return {"check": "block tests", "result": FAILED if code else OK, "detail": last, "seconds": seconds}
