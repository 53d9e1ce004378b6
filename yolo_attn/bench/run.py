"""Measure the cases of a request and yield raw records; :mod:`yolo_attn.bench.summary` summarizes them."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from yolo_attn.bench import arms, compiling, launches, models, timm_blocks
from yolo_attn.bench.budget import Budget
from yolo_attn.bench.cases import Case, ModelCase, Request, as_dict, cases_of
from yolo_attn.bench.floor import copy_rates, floor_ms
from yolo_attn.blocks import fused
from yolo_attn.host.registry import create_attention
from yolo_attn.speed import interleaved, passes
from yolo_attn.util.env import cores, environment
from yolo_attn.util.jsonl import Record

NO_TIME = "no time"
WARMUP_ROUNDS, AT_LEAST_ROUNDS, MOST_ROUNDS = 2, 7, 200
COMPILE_SECONDS, COMPILE_SHARE = 1200.0, 0.35
_AROUND_SECONDS = 25.0  # of the total, for the start, the tables and the plot
_BUILDING_SECONDS = 1.0  # one block or one model, roughly

Log = Callable[[str], None]


def records(request: Request, log: Log = lambda line: None, budget: Budget | None = None) -> Iterator[Record]:
    """Measure and yield raw records: a header, then per group its times or the reason why it is left out.

    Args:
        request: Cases and durations.
        log: Receives progress lines.
        budget: Time budget; by default that of the request.
    """
    if budget is None:
        seconds = request.minutes * 60 - _AROUND_SECONDS if request.minutes else float("inf")
        budget = Budget(seconds)
    if request.threads:
        torch.set_num_threads(request.threads)
    if request.on_cuda:
        torch.cuda.set_device(request.device)
    yield _header(request)
    with fused.fused(fused.is_on()), compiling.fresh_cache(), tempfile.TemporaryDirectory() as scratch:
        yield from _Bench(request, budget, Path(scratch), log).run()


class _Bench:
    """One measurement: all cases in order, within the time budget."""

    def __init__(self, request: Request, budget: Budget, scratch: Path, log: Log):
        self.request, self.budget, self.scratch, self.log = request, budget, scratch, log
        self.cases = cases_of(request)
        self.compiled: Mapping[compiling.Job, compiling.Outcome] = {}
        self.bytes_per_second: float | None = None
        self.files: dict[str, dict[str, Path]] = {}

    def run(self) -> Iterator[Record]:
        if self.request.on_cuda and "floor" in self.request.against:
            rates = copy_rates(self.request.device)
            self.bytes_per_second = rates["best"]
            yield {"kind": "copy rate", **rates}
        self.compiled = self._compile()
        for number, case in enumerate(self.cases):
            if not self.budget.allows(_kind(case), self._expected(case)):
                yield _left_out(case, None, NO_TIME)
                continue
            self.log(f"{case.title} ({number + 1} of {len(self.cases)})")
            with self.budget.spending(_kind(case)):
                yield from self._models(case, number) if isinstance(case, ModelCase) else self._blocks(case, number)

    def _expected(self, case: Case | ModelCase) -> float:
        each = self.request.seconds + _BUILDING_SECONDS
        return each * 2 * (len(self.request.model_blocks) + 1) if isinstance(case, ModelCase) else each

    def _compile(self) -> Mapping[compiling.Job, compiling.Outcome]:
        jobs = [
            compiling.Job(case, implementation)
            for case in self.cases
            if isinstance(case, Case) and case.compiled
            for implementation in ("ours", *(["tutorial"] if "tutorial" in self.request.against else []))
        ]
        seconds = min(COMPILE_SECONDS, COMPILE_SHARE * self.budget.left)
        processes = max(1, cores() * 3 // 4)
        return compiling.compile_all(jobs, self.request.device, seconds, processes, self.log)

    # --- blocks -------------------------------------------------------------------------------------------------------
    def _blocks(self, case: Case, group: int) -> Iterator[Record]:
        outcomes = {job.implementation: result for job, result in self.compiled.items() if job.case == case}
        why_not = {name: outcome.why_not for name, outcome in outcomes.items() if outcome.why_not}
        try:
            built = arms.build(case, self.request.device, self.request.against, why_not, self.request.cuda_graphs)
        except Exception as error:  # recorded, so that earlier measurements are kept
            yield _left_out(case, None, arms.reason(error))
            return
        yield from (_left_out(case, name, why) for name, why in built.left_out.items())
        if "ours" not in built.functions:
            return
        if self._too_slow(sum(built.first_call_s.values())):
            yield _left_out(case, None, NO_TIME)
            return
        more = {
            "memory": built.memory,
            "compile_s": {f"{name} compiled": outcome.seconds for name, outcome in outcomes.items() if outcome.seconds},
            "floor_ms": self._floor_ms(case),
            **self._launches(built.functions, built.runs_per_call),
        }
        yield from self._timed(case, group, built.functions, more, built.runs_per_call)

    def _floor_ms(self, case: Case) -> float | None:
        if self.bytes_per_second is None:
            return None
        like = torch.empty(case.shape, dtype=arms.TORCH_DTYPES[case.dtype], device="meta")
        block = create_attention(case.block, case.shape[1])
        planned = launches.planned(block, case.shape, arms.TORCH_DTYPES[case.dtype])
        return floor_ms(like, case.pass_, self.bytes_per_second, one_kernel=planned == (1, 1))

    def _launches(
        self, functions: Mapping[str, Callable[[], object]], runs_per_call: Mapping[str, int]
    ) -> dict[str, dict[str, float]]:
        """Return the kernels and the host's microseconds of a run of each implementation; nothing on the CPU."""
        if not self.request.on_cuda:
            return {}
        wait = passes.synchronizer(self.request.device)
        us = {name: launches.host_us(run, wait) / runs_per_call.get(name, 1) for name, run in functions.items()}
        found = {name: launches.launched(run) for name, run in functions.items() if name not in runs_per_call}
        return {"launches": {name: count for name, count in found.items() if count}, "host_us": us}

    # --- models -------------------------------------------------------------------------------------------------------
    def _models(self, case: ModelCase, group: int) -> Iterator[Record]:
        if why := models.unavailable_reason(case, self.request.device):
            yield _left_out(case, None, why)
            return
        try:
            if case.model not in self.files:
                folder = self.scratch / Path(case.model).name
                self.files[case.model] = models.write_models(case.model, self.request.model_blocks, folder)
            functions, left_out = models.build(
                case, self.files[case.model], self.request.imgsz, self.request.device, "fused" in self.request.against
            )
            began = time.perf_counter()
            for function in functions.values():
                function()
            passes.synchronizer(self.request.device)()
        except Exception as error:
            yield _left_out(case, None, arms.reason(error))
            return
        if self._too_slow(time.perf_counter() - began):
            yield _left_out(case, None, NO_TIME)
            return
        yield from (_left_out(case, name, why) for name, why in left_out.items())
        yield from self._timed(
            case, group, functions, {"imgsz": self.request.imgsz, "arms": list(functions)}, {}, len(functions)
        )

    def _too_slow(self, one_round: float) -> bool:
        """Return whether the minimum number of rounds, each as long as the first, exceeds the budget."""
        return one_round * (WARMUP_ROUNDS + AT_LEAST_ROUNDS) > self.budget.left

    # --- times --------------------------------------------------------------------------------------------------------
    def _timed(
        self,
        case: Case | ModelCase,
        group: int,
        functions: Mapping[str, Callable[[], object]],
        more: Mapping[str, Any],
        runs_per_call: Mapping[str, int],
        worth: float = 1.0,
    ) -> Iterator[Record]:
        """Yield the times of a group, within ``worth`` times the seconds of a block's group."""
        request, on_cuda = self.request, self.request.on_cuda
        yield {"kind": "group", "group": group, **case.record(), **more}
        seconds = min(request.seconds * worth, self.budget.left)
        rounds = interleaved.interleaved(
            functions,
            rounds=MOST_ROUNDS,
            at_least=AT_LEAST_ROUNDS,
            seconds=seconds,
            lasting_ms=2.0 if on_cuda else 1.0,
            warmup_rounds=WARMUP_ROUNDS,
            warmup_seconds=min(0.1, seconds / 10),
            stopwatch=interleaved.cuda_events(request.device) if on_cuda else None,
        )
        for times in rounds:
            each = {name: ms / runs_per_call.get(name, 1) for name, ms in times.items()}
            yield {"kind": "round", "group": group, "milliseconds": each}


def _header(request: Request) -> Record:
    timm = {"version": timm_blocks.timm_version(), "blocks": timm_blocks.NOTES}
    return {
        "kind": "header",
        "request": as_dict(request),
        "environment": {**environment(request.device), "fused": fused.describe()},
        "timm": timm,
        "command": " ".join(["yolo-attn", *sys.argv[1:]]),
    }


def _kind(case: Case | ModelCase) -> str:
    """Return the kind of a case for the budget: cases of one kind take about equally long."""
    return f"{case.block} {case.pass_} {case.compiled}" if isinstance(case, Case) else f"{case.model} {case.pass_}"


def _left_out(case: Case | ModelCase, arm: str | None, why: str) -> Record:
    return {"kind": "left out", **case.record(), "arm": arm, "why": why}
