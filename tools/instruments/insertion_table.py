"""Measure the mAP of a pretrained model with inserted attention before any training, per way of loading the weights."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolo_attn.host.loading import load_by_host
from yolo_attn.host.model import load_model_dict
from yolo_attn.models.graph import Graph
from yolo_attn.models.insert import insert
from yolo_attn.util.markdown import table

WAYS = ("stock loading", "transferred, paper init", "transferred, identity init")


def measure(
    base: str, weights: str, data: str, block: str = "ELA", log: Callable[[str], None] = lambda line: None, **val: Any
) -> list[dict[str, Any]]:
    """Validate the base model, and the model with a block at each site with its weights loaded in each way.

    Args:
        base: Model YAML of the weights, e.g. ``yolo11n.yaml``.
        weights: Checkpoint.
        data: Data YAML.
        block: Block inserted after P3, P4 and P5, and inside the model's most frequent host block.
        log: Receives progress lines.
        **val: Arguments of Ultralytics' validation, e.g. ``imgsz=320``.

    Returns:
        One mapping per case: ``model``, ``loading``, ``tensors`` (loaded, of the base's), ``mAP50-95``.
    """
    import torch
    import ultralytics

    from yolo_attn.train import yolo as engine
    from yolo_attn.weights.transfer import transfer_weights

    def case(model: str, loading: str, yolo: Any, loaded: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            box = yolo.val(data=data, plots=False, verbose=False, project=scratch, **val).box
        log(f"{model}, {loading}: mAP50-95 {box.map:.4f}")
        return {"model": model, "loading": loading, "tensors": [loaded, total], "mAP50-95": round(float(box.map), 4)}

    known: Any = ultralytics.YOLO(weights)
    total = len(known.model.state_dict())
    cases = [case(Path(base).stem, "checkpoint", known, total)]
    for site, place in _places(base).items():
        for way in WAYS:
            init = "identity" if "identity" in way else "paper"
            torch.manual_seed(0)  # weights that are not loaded are random
            with tempfile.TemporaryDirectory() as scratch:
                file = insert(base, block, init=init, **place).save(Path(scratch) / Path(base).name)
                yolo = engine.YOLO(str(file))
            if way == "stock loading":
                loaded = _load_by_name(yolo, known)
            else:
                loaded = sum(r.loaded_tensors for r in transfer_weights(yolo, weights).rows)
            cases.append(case(f"{Path(base).stem} + {block} {site}", way, yolo, loaded))
    return cases


def _places(base: str) -> dict[str, dict[str, str]]:
    """Return how ``insert`` is told each site, by its name in words."""
    graph = Graph(load_model_dict(base))
    hosts = Counter(graph.host_name(i) for i in range(graph.last))
    host = max((h for h in hosts if h not in ("Conv", "Concat", "nn.Upsample")), key=lambda h: hosts[h])
    return {
        "in the neck": {"at": "neck:P3,P4,P5"},
        "in the backbone": {"at": "backbone:P3,P4,P5"},
        f"inside {host}, inner": {"inside": f"{host}@inner"},
        f"inside {host}, outer": {"inside": f"{host}@outer"},
    }


def to_markdown(cases: list[dict[str, Any]]) -> str:
    """Return the cases as a table."""
    rows = [
        [c["model"], c["loading"], f"{c['tensors'][0]} of {c['tensors'][1]}", f"{c['mAP50-95']:.4f}"] for c in cases
    ]
    return "\n".join(table(["model", "weights", "tensors loaded", "mAP50-95 before any training"], rows))


def _load_by_name(yolo: Any, known: Any) -> int:
    """Load as Ultralytics does, by tensor name, and return how many tensors found their name and shape."""
    state = known.model.state_dict()
    fitting = sum(k in state and state[k].shape == v.shape for k, v in yolo.model.state_dict().items())
    load_by_host(yolo.model, known.model, verbose=False)
    return fitting


def main(words: Sequence[str] | None = None) -> None:
    """Run ``tools/measure_insertion.py``: measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", metavar="BASE.yaml")
    parser.add_argument("weights", metavar="WEIGHTS.pt")
    parser.add_argument("data", metavar="DATA.yaml")
    parser.add_argument("imgsz", nargs="?", type=int, default=640)
    given = parser.parse_args(words)
    with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
        cases = measure(given.base, given.weights, given.data, log=print, imgsz=given.imgsz)
    print(to_markdown(cases))
