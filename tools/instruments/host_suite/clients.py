"""Compare what other packages make of a model with identity attention and of its base model.

Run as ``python -m instruments.host_suite.clients BASE ATTENTION`` with two folders of weights, in an environment that
has the packages; prints one JSON line per check. The first checks run before this package is imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SLICE = 320
TASKS = {
    "detect": "yolo11n",
    "segment": "yolo26n-seg",
    "pose": "yolo26n-pose",
    "obb": "yolo26n-obb",
    "classify": "yolo26n-cls",
}

Open = Callable[[str], Any]


def picture() -> str:
    """Return the path of a picture with people and a bus."""
    from ultralytics.utils import ASSETS

    return str(ASSETS / "bus.jpg")


# --- sahi -------------------------------------------------------------------------------------------------------------
def sahi_objects(sliced: bool, **model: Any) -> list[list[Any]]:
    """Return name, score and box of every object that SAHI finds with a model, given by ``model`` or ``model_path``."""
    from sahi import AutoDetectionModel
    from sahi.predict import get_prediction, get_sliced_prediction

    detector = AutoDetectionModel.from_pretrained("ultralytics", confidence_threshold=0.25, device="cpu", **model)
    size = {"slice_height": SLICE, "slice_width": SLICE, "verbose": 0} if sliced else {}
    found = (get_sliced_prediction if sliced else get_prediction)(picture(), detector, **size)
    return [[o.category.name, o.score.value, *o.bbox.to_xyxy()] for o in found.object_prediction_list]


def sahi_checks(base: Path, ours: Path, open_ours: Open | None) -> Iterator[tuple[str, Any, Any]]:
    """Yield checks of SAHI: by path, or with an opened model if there is a function that opens one."""
    from ultralytics import YOLO

    for name in ("yolo11n", "yolo26n-seg"):
        for sliced in (False, True):
            files = [str(folder / f"{name}.pt") for folder in (base, ours)]
            if open_ours is None:
                pair = [sahi_objects(sliced, model_path=file) for file in files]
            else:
                pair = [sahi_objects(sliced, model=YOLO(files[0])), sahi_objects(sliced, model=open_ours(files[1]))]
            how = f"{'sliced' if sliced else 'whole'}, by {'path' if open_ours is None else 'model'}"
            yield f"sahi {name}: {how}", *pair


# --- supervision ------------------------------------------------------------------------------------------------------
def supervised(model: Any, task: str) -> Any:
    """Return what supervision takes from a model's prediction."""
    import supervision as sv

    (result,) = model(picture(), imgsz=320, verbose=False)
    if task == "classify":
        found = sv.Classifications.from_ultralytics(result)
        return [found.class_id.tolist(), found.confidence.tolist()]
    if task == "pose":
        points = sv.KeyPoints.from_ultralytics(result)
        return [points.xy.tolist(), points.data["class_name"].tolist()]
    return _detections(sv.Detections.from_ultralytics(result))


def slices(model: Any) -> Any:
    """Return the detections of supervision's slicer."""
    import cv2
    import supervision as sv

    def detect(image: Any) -> Any:
        return sv.Detections.from_ultralytics(model(image, imgsz=320, verbose=False)[0])

    slicer = sv.InferenceSlicer(callback=detect, slice_wh=SLICE, overlap_wh=64)
    return _detections(slicer(cv2.imread(picture())))


def _detections(found: Any) -> list[Any]:
    data = {name: np.asarray(values).tolist() for name, values in found.data.items()}
    mask = None if found.mask is None else np.asarray(found.mask).sum((1, 2)).tolist()
    return [found.xyxy.tolist(), found.confidence.tolist(), found.class_id.tolist(), mask, data] if len(found) else []


def supervision_checks(base: Path, ours: Path, open_ours: Open) -> Iterator[tuple[str, Any, Any]]:
    """Yield checks of supervision: predictions of each task, and the slicer."""
    from ultralytics import YOLO

    for task, name in TASKS.items():
        pair = YOLO(str(base / f"{name}.pt")), open_ours(str(ours / f"{name}.pt"))
        yield f"supervision {name}: from_ultralytics, {task}", *(supervised(model, task) for model in pair)
    pair = YOLO(str(base / "yolo11n.pt")), open_ours(str(ours / "yolo11n.pt"))
    yield "supervision yolo11n: InferenceSlicer", *(slices(model) for model in pair)


# --- all --------------------------------------------------------------------------------------------------------------
def checks(base: Path, ours: Path) -> Iterator[dict[str, str]]:
    """Yield name and result of every check: ``equal``, ``found nothing``, or what differs."""
    for name, expected, found in sahi_checks(base, ours, None):
        yield verdict(name, expected, found)
    from yolo_attn import YOLO

    for name, expected, found in (*sahi_checks(base, ours, YOLO), *supervision_checks(base, ours, YOLO)):
        yield verdict(name, expected, found)


def verdict(name: str, expected: Any, found: Any) -> dict[str, str]:
    """Return the result of a check; nothing found on either side is no success."""
    if not expected:
        result = "found nothing"
    elif _text(expected) == _text(found):
        result = "equal"
    else:
        result = f"expected {str(expected)[:200]}, found {str(found)[:200]}"
    return {"check": name, "result": result}


def _text(found: Any) -> str:
    return json.dumps(found, default=float)  # numbers of numpy


if __name__ == "__main__":
    for line in checks(Path(sys.argv[1]), Path(sys.argv[2])):
        print(json.dumps(line), flush=True)
