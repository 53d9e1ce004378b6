"""Import, wait for the other processes, then run a command line: ``python -m robustness.at_once FOLDER WORDS...``.

FOLDER gets a file ``ready-PID``; the command begins once the file ``go`` is there.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from support.paths import ROOT, TESTS

SECONDS = 300
CAMPAIGN = Path(__file__).resolve().parents[1]


def run_at_once(commands: Sequence[Sequence[str]], folder: Path, **more: str) -> list[subprocess.CompletedProcess]:
    """Run command lines simultaneously in separate processes, and return the completed processes."""
    folder.mkdir()
    paths = [str(CAMPAIGN), *map(str, (TESTS, ROOT)), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), **more}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "robustness.at_once", str(folder), *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for words in commands
    ]  # fmt: skip
    wait_for(lambda: len(list(folder.glob("ready-*"))) == len(started) or any(p.poll() is not None for p in started))
    (folder / "go").touch()
    done = []
    for process in started:
        out, said = process.communicate(timeout=SECONDS)
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, said))
    return done


def wait_for(condition, seconds=SECONDS):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("waited too long")
        time.sleep(0.001)


if __name__ == "__main__":
    here, words = Path(sys.argv[1]), sys.argv[2:]
    from yolo_attn import cli

    if words[0] in ("train", "compare", "bench"):
        import yolo_attn.compare.host  # noqa: F401  (seconds, which would decide who is first)
    (here / f"ready-{os.getpid()}").touch()
    wait_for((here / "go").exists)
    sys.exit(cli.main(words))
