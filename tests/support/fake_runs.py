"""Executor that writes simulated results and records instead of training."""

import json

import numpy as np

from yolo_attn.compare import executors, run_folder
from yolo_attn.compare.plan import Plan
from yolo_attn.evaluate.ap import average_precision, mean_average_precision
from yolo_attn.evaluate.coco_ap import Boxes
from yolo_attn.evaluate.condense import condense, match_and_condense
from yolo_attn.evaluate.matches import Matches

IMAGES, TARGETS = 24, 3
ARMS = ("yolo11n.yaml", "yolo11n-ela.yaml")
TINY = {"epochs": 2, "imgsz": 32, "batch": 8, "amp": False}
ENVIRONMENT = {
    "device": "cpu", "cpu": "some CPU", "cores": 2, "threads": 2, "python": "3", "yolo_attn": "0.1.0", "commit": "abc",
}  # fmt: skip


def records(arm: str, seed: int) -> tuple[Matches, Boxes]:
    """Detections of ``IMAGES`` images; how many are right depends on seed and arm, ``identity`` being no arm at all."""
    rng = np.random.default_rng([seed, len(arm.removesuffix("-ela-identity"))])
    total = IMAGES * TARGETS
    image, cls = np.repeat(np.arange(IMAGES), TARGETS), np.arange(total) % 2
    quality = rng.uniform(0.3, 1.0, total)
    side = rng.uniform(10, 200, total)
    boxes = np.stack([np.zeros(total), np.zeros(total), side, side], 1) + 300 * (np.arange(total) % TARGETS)[:, None]
    common = {"images": IMAGES, "image": image, "cls": cls, "confidence": quality * rng.uniform(0.5, 1, total)}
    common |= {"target_image": image, "target_cls": cls, "names": tuple(f"{k:04}.jpg" for k in range(IMAGES))}
    correct = quality[:, None] >= np.linspace(0.5, 0.95, 10)
    matches = Matches(
        **common, correct=correct, area=side**2, target_area=side**2,
        target=np.where(correct, np.arange(total)[:, None], -1),
    )  # fmt: skip
    shifted = boxes + (side * (1 - quality) / (1 + quality))[:, None] * [1, 0, 1, 0]
    return matches, Boxes(**common, boxes=shifted.astype(np.float32), target_boxes=boxes.astype(np.float32))


def complete(folder, **changes):
    """Write the files of a complete run into its folder."""
    spec = run_folder.read_spec(folder)
    matches, boxes = records(spec.arm, spec.seed)
    ap = float(mean_average_precision(average_precision(matches))[0])
    condense(matches).save(folder / run_folder.MATCHES)
    match_and_condense(boxes).save(folder / run_folder.COCO_MATCHES)
    environment = {**ENVIRONMENT, **{k.replace("-", "_"): v for k, v in spec.versions.items()}}
    epochs = [
        {"epoch": e, "metrics/mAP50-95(B)": 0.1 * e + 0.01 * spec.seed, "train/box_loss": 1 / e, "train/cls_loss": 1.0}
        for e in (1, 2, 3)
    ]
    result = {
        "key": spec.key, "arm": spec.arm, "seed": spec.seed, "metrics": {"mAP50": 0.5, "mAP50-95": ap},
        "ap_tail": "drop", "epochs": epochs, "imgsz": 32, "device": "cpu", "epoch_seconds": [1.0, 2.0, 3.0],
        "first_batches": f"batches of seed {spec.seed}", "resumed": 0, "peak_memory_mb": 900.0, "parameters": 2_600_000,
        "gflops": 6.5, "environment": environment,
    }  # fmt: skip
    run_folder.finish(folder, {**result, **changes})


class FakeExecutor:
    """Completes every run but those whose arm is among ``failing``."""

    slots, kind, speed_device = 1, "cpu", "cpu"

    def __init__(self, failing=(), **changes):
        self.failing, self.changes, self.done = failing, changes, []

    def carry_out(self, folders, tick):
        for folder in folders:
            tick([folder])
            self.done.append(run_folder.read_spec(folder).arm + f"-{run_folder.read_spec(folder).seed}")
            if run_folder.read_spec(folder).arm in self.failing:
                (folder / run_folder.LOG).write_text("out of luck\n")
                yield folder, executors.why_failed(folder, 1)
            else:
                complete(folder, **self.changes)
                yield folder, None


def results(out):
    return json.loads((out / "results.json").read_text())


def plan_for(scenes, **changes):
    """Return the plan of a small comparison, with these changes."""
    return Plan(**{"arms": ARMS, "data": str(scenes), "weights": None, "seeds": (0, 1), "overrides": TINY, **changes})
