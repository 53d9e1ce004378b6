"""Time the runs of a comparison one after the other and several at a time, in fresh processes and as forks."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_attn.compare import run_folder
from yolo_attn.compare.driver import executor_of
from yolo_attn.compare.plan import Plan, arms_of, specs_of
from yolo_attn.compare.seconds import seconds_of
from yolo_attn.compare.warm import SWITCH
from yolo_attn.host.data import prepare_data
from yolo_attn.report.seconds import ALL, by_part, total
from yolo_attn.train.yolo import check_model_dict
from yolo_attn.util.env import describe, environment
from yolo_attn.util.words import integers, key_values

MODELS = ("yolo11n.yaml", "yolo11n-se.yaml", "yolo11n-eca.yaml", "yolo11n-ela.yaml")
SETTINGS = {"epochs": 5, "imgsz": 320, "batch": 32}
WAYS = {"fresh": "0", "forked": "1"}


@dataclass(frozen=True)
class Took:
    """Seconds that all runs took.

    Attributes:
        clock: From the first start to the last end.
        cpu: Of the CPU, in all processes.
        parts: On average of a run, by part.
    """

    clock: float
    cpu: float
    parts: dict[str, float]


def measure(specs: Sequence[run_folder.RunSpec], plan: Plan, at_once: int, way: str) -> Took:
    """Carry out runs in an empty folder.

    Args:
        specs: The runs.
        plan: Their devices and threads.
        at_once: How many at a time on each device.
        way: ``forked`` or ``fresh``.
    """
    os.environ[SWITCH] = WAYS[way]
    with tempfile.TemporaryDirectory() as root:
        folders = [run_folder.prepare(spec, Path(root).resolve()) for spec in specs]
        workers = executor_of("pool", plan.device, at_once, plan.threads)
        clock, cpu = time.perf_counter(), _cpu_seconds()
        for folder, reason in workers.carry_out(folders, lambda running: None):
            if reason is not None:
                sys.exit(f"{folder.name}: {reason}\n{(folder / run_folder.LOG).read_text(errors='replace')}")
        clock, cpu = time.perf_counter() - clock, _cpu_seconds() - cpu
        spent = total([seconds for folder in folders if (seconds := seconds_of(folder))])
    each = {part: seconds / len(folders) for part, seconds in spent.items()}
    return Took(clock, cpu, {ALL: each[ALL], **by_part(each)})


def _cpu_seconds() -> float:
    """Return the CPU seconds of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def median(took: Sequence[Took]) -> Took:
    """Return the median of each number."""
    parts = {part: statistics.median(one.parts[part] for one in took) for part in took[0].parts}
    return Took(statistics.median(one.clock for one in took), statistics.median(one.cpu for one in took), parts)


def table(took: dict[tuple[str, int], Took]) -> list[str]:
    """Return the lines of a table in Markdown, the first way being what others are compared with."""
    first = next(iter(took.values()))
    head = ["runs", "at a time", "seconds", "times as fast", "CPU seconds", *(f"a run: {p}" for p in first.parts)]
    lines = [head, ["---"] * len(head)]
    for (way, at_once), one in took.items():
        numbers = [f"{one.clock:.1f}", f"{first.clock / one.clock:.2f}", f"{one.cpu:.1f}"]
        lines.append([way, str(at_once), *numbers, *(f"{seconds:.1f}" for seconds in one.parts.values())])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _words() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--per-gpu", type=int, default=6, help="runs at a time on each GPU, or on the CPU")
    parser.add_argument("--device", default="0", help="0, 0,1 or cpu")
    parser.add_argument("--models", type=lambda text: text.split(","), default=MODELS, help="separated by commas")
    parser.add_argument("--weights", help="checkpoint that every model starts from")
    parser.add_argument("--seeds", type=integers, default=(0, 1, 2))
    parser.add_argument("--threads", type=int, help="threads of each run on the CPU")
    parser.add_argument("--way", action="append", choices=WAYS, help="fresh or forked; both by default")
    parser.add_argument("--repeats", type=int, default=1)
    return parser.parse_known_args()


def main() -> None:
    """Run ``tools/measure_matrix.py``: print a table."""
    given, words = _words()
    plan = Plan(
        arms=given.models,
        data=given.data,
        weights=given.weights,
        seeds=given.seeds,
        overrides={**SETTINGS, **key_values(words)},
        device=given.device,
        threads=given.threads,
    )
    arms = arms_of(plan)
    specs = specs_of(plan, arms, kind=executor_of("pool", plan.device, 1, plan.threads).kind)
    prepare_data(specs[0].data, specs[0].overrides, check_model_dict(arms[0].name, arms[0].model, None))
    ways = [(way, at_once) for at_once in dict.fromkeys((1, given.per_gpu)) for way in given.way or WAYS]
    found: dict[tuple[str, int], list[Took]] = {way: [] for way in ways}
    for repeat in range(given.repeats):
        for way, at_once in ways[:: 1 if repeat % 2 == 0 else -1]:  # in both orders: files are read faster later
            found[way, at_once].append(measure(specs, plan, at_once, way))
            print(f"{way}, {at_once} at a time: {found[way, at_once][-1].clock:.1f} s", file=sys.stderr)
    settings = " ".join(f"{key}={value}" for key, value in plan.overrides.items())
    print(f"{len(specs)} runs, {settings}; {describe(environment('cuda:0' if specs[0].device == 'cuda' else 'cpu'))}\n")
    print("\n".join(table({way: median(took) for way, took in found.items()})))
