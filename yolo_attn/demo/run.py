"""The main job, small: draw a COCO-format set, convert it, train the baseline and an attention model, compare them.

Needs no network, no data and no weights. The scenes are drawn; what is learned from them is not about photographs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolo_attn.compare import results as compared
from yolo_attn.compare.driver import compare
from yolo_attn.compare.plan import Plan
from yolo_attn.compare.run_folder import CHECKPOINT
from yolo_attn.demo import figures
from yolo_attn.demo.scenes import make_scenes
from yolo_attn.errors import YoloAttnError
from yolo_attn.report.markdown import BRIEF, to_markdown
from yolo_attn.report.results import read_results
from yolo_attn.subset.convert import convert_coco

ARMS = ("yolo11n.yaml", "yolo11n-ela.yaml")
SCENES = {"train": 1000, "val": 200, "size": 128}
FAST_SCENES = {"train": 96, "val": 32, "size": 128}
RECIPE: dict[str, Any] = {
    "epochs": 6,
    "imgsz": 96,
    "batch": 16,
    "nbs": 16,  # a step per batch
    "optimizer": "AdamW",
    "lr0": 0.002,
    "lrf": 0.05,
    "weight_decay": 0.01,
    "warmup_epochs": 0.5,
    "warmup_bias_lr": 0.0,
    "amp": False,
    "cache": "ram",
    # the scenes vary enough; augmentation would only lengthen a short training
    **dict.fromkeys(("mosaic", "scale", "translate", "hsv_h", "hsv_s", "hsv_v", "erasing"), 0.0),
}
FAST = {"epochs": 2, "imgsz": 64}
SHOWN_IMAGES = 4
SPEED_SECONDS = 3.0


def run_demo(out: Path, fast: bool = False, say: Callable[[str], None] = lambda line: None) -> str:
    """Make the set, train, compare, draw.

    Args:
        out: Folder for everything that is made; what an earlier call completed there is used again.
        fast: Train for seconds only, to see that all parts work; nothing is learned.
        say: Told the progress, a line at a time.

    Returns:
        The table, what the figures show, and where everything lies.

    Raises:
        YoloAttnError: If the folder cannot be used, or a training failed.
    """
    out = out / "fast" if fast else out
    scenes = FAST_SCENES if fast else SCENES
    say(f"drawing {scenes['train']} + {scenes['val']} scenes of {scenes['size']} px")
    data = convert_coco(make_scenes(out / "coco", **scenes), out / "yolo")
    recipe = {**RECIPE, **FAST} if fast else RECIPE
    plan = Plan(arms=ARMS, data=str(data), seeds=(0,), overrides=recipe)
    if failed := compare(plan, out / "compare", say=say, speed_seconds=SPEED_SECONDS):
        raise YoloAttnError("; ".join(failed))
    say("drawing the figures")
    made = draw(out, data, imgsz=recipe["imgsz"])
    found = read_results(out / "compare")
    places = [f"- {what}: {where}" for what, where in made.items()]
    note = "A smoke test: too short to learn." if fast else "Drawn scenes: these figures say nothing about photographs."
    data_places = [f"- data, COCO format: {out / 'coco'}", f"- data, YOLO format: {data}"]
    return "\n".join([to_markdown(found, sections=BRIEF), note, *data_places, *places])


def draw(out: Path, data: Path, imgsz: int) -> dict[str, Path]:
    """Draw losses and mAP, and predictions beside the truth; return the pictures' paths by what they show."""
    from yolo_attn.train import yolo

    folder = out / "compare"
    runs = {result["arm"]: folder / compared.RUNS / name for name, result in compared.read(folder).results.items()}
    results = {name: json.loads((run / "result.json").read_text(encoding="utf-8")) for name, run in runs.items()}
    images = _images_with_most_objects(data)
    columns = {"truth": [figures.draw_truth(image) for image in images]}
    for name, run in runs.items():
        columns[name] = yolo.draw_predictions(run / CHECKPOINT, images, imgsz)
    return {
        "report": folder / "report.html",
        "losses and mAP": figures.plot_results(results, out / "results.png"),
        "predictions beside the truth": figures.save_sheet(columns, out / "predictions.png"),
    }


def _images_with_most_objects(data: Path) -> list[Path]:
    labels = sorted((data.parent / "labels" / "val").glob("*.txt"), key=lambda p: (-len(p.read_text().split("\n")), p))
    return [data.parent / "images" / "val" / f"{label.stem}.jpg" for label in labels[:SHOWN_IMAGES]]
