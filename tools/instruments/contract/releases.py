"""Try the contract on other releases than the installed ones, each in an environment of its own.

Such an environment is a virtual one that sees the packages of this one behind its own: pip puts there the releases that
were asked for and what they need and this one lacks, and nothing else is downloaded twice.
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

from instruments.contract.contract import FAILED, OK, OUTCOMES, TOLD
from yolo_attn.errors import YoloAttnError

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "yolo-attn" / "releases"
BLOCK_TESTS = (
    "test_blocks_equations.py", "test_recalibrate.py", "test_blocks_contract.py", "test_blocks_interface.py",
)  # fmt: skip
CONTRACT_SECONDS = 3600
_ROOT = Path(__file__).resolve().parents[3]

Say = Callable[[str], None]


def requirements(word: str) -> list[str]:
    """Return what pip is to install for a release as it is named on the command line.

    Args:
        word: A release of Ultralytics and, after commas, other requirements beside it.

    Examples:
        >>> requirements("8.3.0,torch==2.4.1,numpy<2")
        ['ultralytics==8.3.0', 'torch==2.4.1', 'numpy<2']

    Raises:
        YoloAttnError: If it begins with no release number.
    """
    release, *others = word.split(",")
    if not re.fullmatch(r"\d+\.\d+\.\d+", release):
        raise YoloAttnError(f"'{word}' is not a release; give one like 8.3.0 or 8.3.0,torch==2.4.1,numpy<2")
    return [f"ultralytics=={release}", *others]


def newest_release() -> str:
    """Return the number of the newest release of Ultralytics that the configured package index has.

    Raises:
        YoloAttnError: If the index cannot be asked.
    """
    asked = ["install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed", "--report", "-", "ultralytics"]
    return json.loads(_pip(sys.executable, *asked))["install"][0]["metadata"]["version"]


def environment_with(wanted: Sequence[str], cache: Path = CACHE) -> Path:
    """Return the interpreter of an environment that has these requirements, made now if it is not there yet.

    Args:
        wanted: Requirements as pip takes them.
        cache: Folder for the environments.

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
        _pip(str(python), "install", "--quiet", *wanted)
        complete.write_text("\n".join(wanted))
    return python


def _pip(python: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", "--python", python, *words], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise YoloAttnError(f"pip {' '.join(words)}: {said[-1] if said else 'failed'}")
    return done.stdout


def try_release(wanted: Sequence[str], cache: Path = CACHE, block_tests: bool = False, say: Say = print) -> dict:
    """Try the contract with these requirements and return a row of results.

    Args:
        wanted: Requirements as pip takes them.
        cache: Folder for the environments.
        block_tests: Run the blocks' tests too, which depend on torch alone; they take minutes.
        say: Told the progress, a line at a time.

    Returns:
        ``requirements``, ``environment``, ``outcomes`` and, if the process did not come to its end, ``ended``.

    Raises:
        YoloAttnError: If the requirements cannot be installed, or this is not a checkout.
    """
    if not (_ROOT / "pyproject.toml").is_file():
        raise YoloAttnError("other releases are tried from a checkout of yolo-attn, and this is an installed package")
    say(f"installing {' '.join(wanted)}")
    python = environment_with(wanted, cache)
    with tempfile.TemporaryDirectory(prefix="yolo-attn-") as scratch:
        variables = {**os.environ, **_variables(Path(scratch))}
        row = _contract(python, Path(scratch) / "contract", variables, say)
        if block_tests:
            row["outcomes"].append(_block_tests(python, variables))
            say(f"block tests: {row['outcomes'][-1]['detail']}")
    return {"requirements": list(wanted), **row}


def _variables(scratch: Path) -> dict[str, str]:
    settings = scratch / "settings"
    settings.mkdir()
    return {"PYTHONPATH": str(_ROOT), "YOLO_CONFIG_DIR": str(settings), "YOLO_OFFLINE": "true"}


def _contract(python: Path, folder: Path, variables: dict[str, str], say: Say) -> dict[str, Any]:
    folder.mkdir()
    words = [str(python), "-m", "instruments.contract.contract", str(folder)]
    piped = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    process = subprocess.Popen(words, env=variables, cwd=folder, **piped)
    limit = threading.Timer(CONTRACT_SECONDS, process.kill)
    limit.start()
    last = "nothing said"
    for line in process.stderr:
        last = line.strip() or last
        if line.startswith(TOLD):
            say(line.removeprefix(TOLD).strip())
    code = process.wait()
    limit.cancel()
    stored = folder / OUTCOMES
    rows = [json.loads(line) for line in stored.read_text().splitlines()] if stored.is_file() else []
    return {
        "environment": next((row["environment"] for row in rows if "environment" in row), {}),
        "outcomes": [row for row in rows if "check" in row],
        "ended": f"exit code {code}: {last}" if code else "",
    }


def _block_tests(python: Path, variables: dict[str, str]) -> dict[str, Any]:
    began = time.perf_counter()
    files = [str(_ROOT / "tests" / file) for file in BLOCK_TESTS]
    words = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "--tb=line", *files]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, cwd=_ROOT)
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["nothing said"]
    return {
        "check": "block tests",
        "result": FAILED if done.returncode else OK,
        "detail": lines[-1].strip("= "),
        "seconds": round(time.perf_counter() - began, 1),
    }
