"""Time models in a process of their own: ``python -m yolo_attn.speed.run FOLDER``.

FOLDER holds ``speed_spec.json``; the raw times are written to ``speed.jsonl`` next to it, see
:mod:`yolo_attn.speed.raw`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.devices import torch_device
from yolo_attn.report.results import LeftOut
from yolo_attn.speed import interleaved, passes
from yolo_attn.speed.raw import Header, Line, Round, Start, Took, write_raw
from yolo_attn.speed.spec import PRECISIONS, Precision, SpeedSpec, read_spec
from yolo_attn.train import yolo
from yolo_attn.util.env import environment
from yolo_attn.util.printing import any_text
from yolo_attn.util.processes import LOCK, LOCK_SECONDS, stop_with_parent

AT_LEAST_ROUNDS, LASTING_MS, WARMUP_SECONDS = 20, 10.0, 1.0


def measure(folder: Path) -> None:
    """Time the models of a folder's spec and write the raw times there; an earlier measurement is overwritten."""
    spec = read_spec(folder)
    torch_device(spec.device)
    write_raw(folder, _lines(spec, folder))


def _lines(spec: SpeedSpec, folder: Path) -> Iterator[Line]:
    began = time.perf_counter()
    layout = str(passes.memory_format(spec.device)).removeprefix("torch.")
    yield Header(spec=spec, memory_format=layout, environment=environment(spec.device))
    for precision in PRECISIONS if spec.precisions == "auto" else spec.precisions:
        if precision == "fp16" and not _is_cuda(spec):
            why = f"half precision is measured on CUDA only, this is {spec.device}"
            yield LeftOut(batch=None, precision=precision, why=why)
            continue
        models = {
            arm: passes.for_inference(yolo.open_model(folder / path), spec.device, precision)
            for arm, path in spec.models.items()
        }
        yield from _at_each_batch(models, spec, precision)
    yield Took(seconds=round(time.perf_counter() - began, 1))


def _at_each_batch(models: Mapping[str, nn.Module], spec: SpeedSpec, precision: Precision) -> Iterator[Line]:
    automatic = (1, 32 if _is_cuda(spec) else 8)
    batches = automatic if spec.batches == "auto" else dict.fromkeys(spec.batches)
    measured: set[int] = set()
    for batch in batches:
        images, memory = _largest_batch(models, spec, precision, batch)
        if images is None or len(images) < batch:
            yield LeftOut(batch=batch, precision=precision, why="does not fit into the device's memory")
        if images is None or len(images) in measured:
            continue
        measured.add(len(images))
        print(f"speed: batch {len(images)}, {precision}, {len(models)} models", file=sys.stderr, flush=True)
        yield from _timed(models, images, memory, spec, precision)


def _largest_batch(
    models: Mapping[str, nn.Module], spec: SpeedSpec, precision: Precision, batch: int
) -> tuple[Tensor | None, dict[str, float | None]]:
    """Halve ``batch`` until it fits for every model; return the images and the peak memory of each model in MB."""
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
    models: Mapping[str, nn.Module],
    images: Tensor,
    memory: dict[str, float | None],
    spec: SpeedSpec,
    precision: Precision,
) -> Iterator[Line]:
    batch = len(images)
    yield Start(batch=batch, precision=precision, peak_memory_mb=memory)
    rounds = interleaved.interleaved(
        {arm: passes.forward_pass(model, images) for arm, model in models.items()},
        rounds=spec.rounds,
        at_least=AT_LEAST_ROUNDS,
        seconds=spec.seconds,
        lasting_ms=LASTING_MS,
        warmup_seconds=WARMUP_SECONDS,
        synchronize=passes.synchronizer(spec.device),
        seed=spec.seed,
    )
    for number, times in enumerate(rounds):
        yield Round(batch=batch, precision=precision, round=number, milliseconds=times)


def _is_cuda(spec: SpeedSpec) -> bool:
    return spec.device.startswith("cuda")


if __name__ == "__main__":
    stop_with_parent()
    with any_text():
        try:
            with FileLock(Path(sys.argv[1]) / LOCK, timeout=LOCK_SECONDS):
                measure(Path(sys.argv[1]).resolve())
        except Timeout:
            print(f"yolo-attn: another process is still timing in '{sys.argv[1]}'", file=sys.stderr)
            sys.exit(2)
        except YoloAttnError as error:
            print(f"yolo-attn: {error}", file=sys.stderr)
            sys.exit(2)
