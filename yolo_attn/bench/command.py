"""Parse the flags of ``yolo-attn bench`` and run it. Imports no torch."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolo_attn.bench.cases import (
    AGAINST,
    DTYPES,
    GPU_SHAPES,
    LAYOUTS,
    MODES,
    PASSES,
    SHAPES,
    SUITE_MINUTES,
    SUITE_MODELS,
    Request,
    parse_choices,
    parse_shape,
)
from yolo_attn.errors import YoloAttnError
from yolo_attn.util.words import log_to_stderr, refuse

OUTPUT = "runs/bench"
_WITH_SUITE = ("dtype", "layout", "mode")
_LISTS = {"dtype": DTYPES, "layout": LAYOUTS, "passes": PASSES, "mode": MODES, "against": AGAINST}
_FLAG_OF = {"passes": "--pass", "cuda_graphs": "--cuda-graphs", "shape": "--shape"}


def add_flags(bench: argparse.ArgumentParser) -> None:
    """Add the flags of ``yolo-attn bench`` to its parser."""
    what = bench.add_argument_group("what to time")
    what.add_argument("--blocks", help="e.g. SE,ECA | all (the default)")
    what.add_argument("--shape", nargs="+", action="extend", metavar="NxCxHxW", help=f"default: {' '.join(SHAPES)}")
    what.add_argument("--device", help="cpu | cuda | 0 (default: the first GPU, if there is one)")
    what.add_argument("--dtype", help=f"{','.join(DTYPES)} (default: fp32, on a GPU fp16)")
    what.add_argument("--layout", help=f"{','.join(LAYOUTS)} (default: contiguous)")
    what.add_argument("--pass", dest="passes", help=f"{','.join(PASSES)} (default: both)")
    what.add_argument("--mode", help=f"{','.join(MODES)} (default: eager)")
    what.add_argument("--against", help=f"{','.join(AGAINST)} (default: all; fused: on a GPU)")
    what.add_argument("--cuda-graphs", action="store_true", default=None, help="capture passes as CUDA graphs too")
    models = bench.add_argument_group("whole models")
    models.add_argument("--models", help="also the blocks in the neck of these, e.g. yolo11n.yaml,yolov8n.yaml")
    models.add_argument("--imgsz", type=int, help="side of their images (default: 640)")
    models.add_argument("--batch", type=int, help="images at a time (default: latency 1; training 16, on the CPU 4)")
    how = bench.add_argument_group("how long")
    how.add_argument("--threads", type=int, help="threads on the CPU (default: torch's choice)")
    how.add_argument("--seconds", type=float, help="of timing, per group (default: 2, on a GPU and in the suite 0.4)")
    how.add_argument("--minutes", type=float, help="in all; what does not fit is left out (default: all is measured)")
    how.add_argument(
        "--suite", action="store_true", default=None,
        help=f"everything that is published, most important first, in {SUITE_MINUTES:g} minutes: two precisions, both "
        "layouts, compiled, whole models",
    )  # fmt: skip
    bench.add_argument("-o", "--output", help=f"folder for the results (default: {OUTPUT})")
    bench.add_argument(
        "--from", dest="source", metavar="DIR", help="measure nothing: write DIR's tables and plot again"
    )
    bench.add_argument("--json", action="store_true", help="print JSON instead of the tables")


def run(arguments: argparse.Namespace, trailing: list[str]) -> tuple[str, int]:
    """Measure or read raw lines, write summary, tables and plot; return the text to print and the exit code."""
    refuse(trailing)
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    folder = Path(given.get("source") or given.get("output") or OUTPUT)
    if "source" in given:
        if others := [_flag(name) for name in given if name not in ("source", "json", "run")]:
            raise YoloAttnError(f"--from reads what was measured: leave out {others[0]}")
        summary, text = _report(folder)
    else:
        request = request_of(given)
        _check_models(request)
        with _exclusive(folder):
            _measure(request, folder)
            summary, text = _report(folder)
    return (json.dumps(summary) if arguments.json else text.rstrip()), 0


def request_of(given: dict[str, Any]) -> Request:
    """Return the request of the given flags.

    Raises:
        YoloAttnError: If a value is not allowed, or is fixed by the suite.
    """
    from yolo_attn.blocks import ATTENTION_BLOCKS
    from yolo_attn.host.devices import torch_device
    from yolo_attn.host.registry import resolve

    suite = given.get("suite", False)
    if clash := [name for name in _WITH_SUITE if suite and name in given]:
        raise YoloAttnError(f"--suite settles that itself: leave out {_flag(clash[0])}, or the suite")
    for name in ("imgsz", "batch", "threads", "seconds", "minutes"):
        if name in given and not given[name] > 0:
            raise YoloAttnError(f"--{name} {given[name]}: give a number above 0")
    lists = {name: parse_choices(_flag(name)[2:], given[name], all_) for name, all_ in _LISTS.items() if name in given}
    blocks = given.get("blocks", "all")
    device = torch_device(given.get("device"))
    on_cuda = device != "cpu"
    if given.get("cuda_graphs") and not on_cuda:
        raise YoloAttnError(f"--cuda-graphs needs a GPU; the device is {device}")
    names = tuple(ATTENTION_BLOCKS if blocks == "all" else dict.fromkeys(resolve(b)[0] for b in _words(blocks)))
    models = _words(given["models"]) if "models" in given else SUITE_MODELS if suite else ()
    return Request(
        blocks=names,
        shapes=tuple(map(parse_shape, given.get("shape", GPU_SHAPES if suite and on_cuda else SHAPES))),
        device=device,
        dtypes=lists.get("dtype", ("fp16",) if on_cuda else ("fp32",)),
        layouts=lists.get("layout", ("contiguous",)),
        passes=lists.get("passes", PASSES),
        modes=lists.get("mode", ("eager",)),
        against=lists.get("against", tuple(other for other in AGAINST if on_cuda or other != "fused")),
        models=tuple(models),
        imgsz=given.get("imgsz", 640),
        batch=given.get("batch"),
        cuda_graphs=given.get("cuda_graphs", suite and on_cuda),
        threads=given.get("threads"),
        seconds=given.get("seconds", 0.4 if on_cuda or suite else 2.0),
        minutes=given.get("minutes", SUITE_MINUTES if suite else None),
        suite=suite,
        with_form=tuple(name for name in names if getattr(ATTENTION_BLOCKS.get(name), "fused", "")),
    )


def _report(folder: Path) -> tuple[dict[str, Any], str]:
    from yolo_attn.bench.report import write_report

    return write_report(folder)


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Lock a folder, so that a second bench cannot write to it.

    Raises:
        YoloAttnError: If it is locked.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "bench.lock", timeout=0):
            yield
    except Timeout:
        raise YoloAttnError(f"another bench is at work in '{folder}'; choose another folder with -o") from None


def _check_models(request: Request) -> None:
    from yolo_attn.bench.models import check

    for model in request.models:
        check(model)


def _measure(request: Request, folder: Path) -> None:
    from yolo_attn.bench.raw import write_raw
    from yolo_attn.bench.run import records

    write_raw(folder, records(request, log_to_stderr("bench")))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()] or [text]


def _flag(name: str) -> str:
    return _FLAG_OF.get(name, f"--{name}")
