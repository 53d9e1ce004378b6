"""Time models against each other in a process of its own: ``python -m yolo_attn.speed.run FOLDER``.

FOLDER holds ``speed_spec.json``, what to measure. ``speed.jsonl`` is written beside it as the measurement goes on: a
header, per batch and precision one line ``measurement`` and one line per round, and a closing line, without which the
file counts for nothing. :mod:`yolo_attn.speed.summary` says what the times mean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.devices import torch_device
from yolo_attn.speed import interleaved, passes
from yolo_attn.speed.spec import PRECISIONS, RAW, Record, SpeedSpec, read_spec
from yolo_attn.train import yolo
from yolo_attn.util import jsonl
from yolo_attn.util.env import environment
from yolo_attn.util.processes import LOCK, LOCK_SECONDS, stop_with_parent

AT_LEAST_ROUNDS, LASTING_MS, WARMUP_SECONDS = 20, 10.0, 1.0


def measure(folder: Path) -> None:
    """Measure what a folder's spec says and write the raw times there; what was measured before is dropped."""
    spec = read_spec(folder)
    torch_device(spec.device)
    jsonl.write_complete(folder / RAW, _records(spec, folder))


def _records(spec: SpeedSpec, folder: Path) -> Iterator[Record]:
    layout = str(passes.memory_format(spec.device)).removeprefix("torch.")
    yield {"kind": "header", "spec": asdict(spec), "memory_format": layout, "environment": environment(spec.device)}
    for precision in PRECISIONS if spec.precisions == "auto" else spec.precisions:
        if precision == "fp16" and not _is_cuda(spec):
            yield _left_out(precision, None, f"half precision is measured on CUDA only, this is {spec.device}")
            continue
        models = {
            arm: passes.for_inference(yolo.open_model(folder / path), spec.device, precision)
            for arm, path in spec.models.items()
        }
        yield from _at_each_batch(models, spec, precision)


def _at_each_batch(models: Mapping[str, nn.Module], spec: SpeedSpec, precision: str) -> Iterator[Record]:
    automatic = (1, 32 if _is_cuda(spec) else 8)
    batches = automatic if spec.batches == "auto" else dict.fromkeys(spec.batches)
    measured: set[int] = set()
    for batch in batches:
        images, memory = _what_fits(models, spec, precision, batch)
        if images is None or len(images) < batch:
            yield _left_out(precision, batch, "does not fit into the device's memory")
        if images is None or len(images) in measured:
            continue
        measured.add(len(images))
        print(f"speed: batch {len(images)}, {precision}, {len(models)} models", file=sys.stderr, flush=True)
        yield from _timed(models, images, memory, spec, precision)


def _what_fits(
    models: Mapping[str, nn.Module], spec: SpeedSpec, precision: str, batch: int
) -> tuple[Tensor | None, dict[str, float | None]]:
    """Return images, as many of ``batch`` as every model can take, halving, and each model's peak memory."""
    while batch:
        try:
            images = passes.random_images(batch, spec.imgsz, spec.device, precision, spec.seed)
            return images, {arm: passes.peak_memory_mb(model, images) for arm, model in models.items()}
        except torch.cuda.OutOfMemoryError:
            images = None
        torch.cuda.empty_cache()
        batch //= 2
    return None, {}


def _timed(
    models: Mapping[str, nn.Module], images: Tensor, memory: dict[str, float | None], spec: SpeedSpec, precision: str
) -> Iterator[Record]:
    which = {"batch": len(images), "precision": precision}
    yield {"kind": "measurement", **which, "peak_memory_mb": memory}
    rounds = interleaved.interleaved(
        {arm: passes.forward_pass(model, images) for arm, model in models.items()},
        rounds=spec.rounds,
        at_least=AT_LEAST_ROUNDS,
        seconds=spec.seconds,
        lasting_ms=LASTING_MS,
        warmup_seconds=WARMUP_SECONDS,
        synchronize=passes.waiting_for(spec.device),
        seed=spec.seed,
    )
    for number, times in enumerate(rounds):
        yield {"kind": "round", **which, "round": number, "milliseconds": times}


def _is_cuda(spec: SpeedSpec) -> bool:
    return spec.device.startswith("cuda")


def _left_out(precision: str, batch: int | None, why: str) -> Record:
    return {"kind": "left out", "precision": precision, "batch": batch, "why": why}


if __name__ == "__main__":
    stop_with_parent()
    try:
        with FileLock(Path(sys.argv[1]) / LOCK, timeout=LOCK_SECONDS):
            measure(Path(sys.argv[1]).resolve())
    except Timeout:
        print(f"yolo-attn: another process is still timing in '{sys.argv[1]}'", file=sys.stderr)
        sys.exit(2)
    except YoloAttnError as error:
        print(f"yolo-attn: {error}", file=sys.stderr)
        sys.exit(2)
