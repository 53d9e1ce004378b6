"""Carry out stand-ins for short runs with the pool of comparisons, one after the other and beside each other."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from yolo_attn.compare import executors, run_folder
from yolo_attn.compare.executors import LocalPool

START, TO_REPORT, FIRST_EPOCH, EPOCH, EPOCHS = 9.0, 12.0, 20.0, 5.0, 5
"""Seconds measured on one H100: until the first batch, from there to the report of the memory, the first epoch, each
further epoch; and the number of epochs."""
MEMORY_MB, GPU_MB = 1500, 80_000.0


class WaitingPool(LocalPool):
    """Pool in which a run waits until those beside it have reported their memory."""

    def _has_room(self, device: str, beside: list[Any], job: Any, running: list[Any]) -> bool:
        waits = any(other.peak_mb() is None for other in beside)
        return not waits and super()._has_room(device, beside, job, running)


def show(runs: int, faster: float, cores: int) -> list[tuple[str, int, float, float]]:
    """Return how stand-ins were carried out: the way, how many at a time, seconds as on the GPU, how much faster."""

    def start(folder: Path, *_: object) -> subprocess.Popen[bytes]:
        later = FIRST_EPOCH - TO_REPORT + EPOCH * (EPOCHS - 1)
        report = f'mkdir -p train; echo "{{\\"peak_reserved_mb\\": {MEMORY_MB}}}" > train/progress.json'
        program = f"sleep {(START + TO_REPORT) / faster}; {report}; sleep {later / faster}"
        log = (folder / run_folder.LOG).open("ab")
        return subprocess.Popen(["sh", "-c", program], cwd=folder, stdout=log, stderr=log)

    inside: Any = vars(executors)
    inside.update(start=start, _free_mb=lambda device: GPU_MB, _cores=lambda: cores)
    inside["_POLL_SECONDS"] /= faster
    rows: list[tuple[str, int, float, float]] = []
    ways = [("one after the other", LocalPool, 1)]
    for number in (4, 12):
        ways += [("waiting for reports", WaitingPool, number), ("overlapping", LocalPool, number)]
    for way, pool, number in ways:
        with tempfile.TemporaryDirectory() as folder:
            seconds = _seconds(pool(["0"], number), Path(folder), runs) * faster
        rows.append((way, number, seconds, rows[0][2] / seconds if rows else 1.0))
    return rows


def _seconds(pool: LocalPool, root: Path, runs: int) -> float:
    folders = [root / str(number) for number in range(runs)]
    for folder in folders:
        folder.mkdir()
    began = time.perf_counter()
    failed = [reason for _, reason in pool.carry_out(folders, lambda running: None) if reason]
    if failed:
        raise RuntimeError(failed[0])
    return time.perf_counter() - began


def main() -> None:
    """Run ``tools/show_overlap.py``: print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--faster", type=float, default=20.0)
    parser.add_argument("--cores", type=int, default=16)
    given = parser.parse_args()
    print("| starts | runs at a time | seconds | times as fast |\n| --- | --- | --- | --- |")
    for way, number, seconds, gain in show(given.runs, given.faster, given.cores):
        print(f"| {way} | {number} | {seconds:.0f} | {gain:.1f} |")


if __name__ == "__main__":
    main()
