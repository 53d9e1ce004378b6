"""A validation that keeps, image by image, which detection matched which object: what statistics are computed from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_attn.evaluate.coco_ap import Boxes
from yolo_attn.evaluate.matches import Matches


class Recording:
    """Mixin for an Ultralytics validator of boxes: collects a record per image while it does what it always does.

    A class made with it has ``in_original_pixels(boxes, batch)``, which turns boxes of the network's input into boxes
    of the image's file.
    """

    def init_metrics(self, model: Any) -> None:
        """Begin a validation as the host does, with an empty record."""
        super().init_metrics(model)
        self.images: list[dict[str, Any]] = []

    def _process_batch(self, preds: dict[str, torch.Tensor], batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Match one image's detections with its objects as the host does, and keep the outcome."""
        self._overlap = None
        found = super()._process_batch(preds, batch)
        self.images.append(
            {
                "name": Path(batch["im_file"]).name,
                "cls": _numpy(preds["cls"]),
                "confidence": _numpy(preds["conf"]),
                "correct": found["tp"],
                "target": matched_targets(found["tp"], self._overlap),
                "box": _numpy(self.in_original_pixels(preds["bboxes"], batch)).astype(np.float32),
                "target_cls": _numpy(batch["cls"]),
                "target_box": _numpy(self.in_original_pixels(batch["bboxes"], batch)).astype(np.float32),
            }
        )
        return found

    def match_predictions(self, pred_classes: torch.Tensor, true_classes: torch.Tensor, iou: torch.Tensor, **kwargs):
        """Match as the host does; the overlaps that it goes by are kept (of boxes, not of masks or key points)."""
        if self._overlap is None:
            self._overlap = _numpy(iou * (true_classes[:, None] == pred_classes))
        return super().match_predictions(pred_classes, true_classes, iou, **kwargs)

    def matches(self) -> Matches:
        """Return which detection matched which object, images in the order of their names."""
        images = sorted(self.images, key=lambda image: image["name"])
        first = np.cumsum([0, *(len(image["target_cls"]) for image in images)])
        target = [np.where(r["target"] < 0, -1, r["target"] + n) for r, n in zip(images, first, strict=False)]
        return Matches(
            **_common(images),
            correct=_joined(images, "correct", bool),
            target=np.concatenate(target),
            area=_areas(_joined(images, "box", float)),
            target_area=_areas(_joined(images, "target_box", float)),
        )

    def boxes(self) -> Boxes | None:
        """Return the boxes themselves, images in the same order, or ``None`` where they are rotated."""
        images = sorted(self.images, key=lambda image: image["name"])
        boxes, targets = _joined(images, "box", np.float32), _joined(images, "target_box", np.float32)
        return Boxes(**_common(images), boxes=boxes, target_boxes=targets) if boxes.shape[1] == 4 else None


def matched_targets(correct: np.ndarray, overlap: np.ndarray | None) -> np.ndarray:
    """Return which target each true positive was matched with, at each IoU threshold, and -1 elsewhere.

    Ultralytics says which detections are true positives, not of what. In the order of confidence each takes the target
    it overlaps most of those still free; a detection that is no true positive takes none.

    Args:
        correct: True positives, detections in the order of confidence. Shape ``(D, T)``.
        overlap: IoU of targets and detections, 0 where the classes differ. Shape ``(G, D)``.
    """
    target = np.full(correct.shape, -1, np.int64)
    if overlap is None:
        return target
    taken = np.zeros((len(overlap), correct.shape[1]), bool)
    for d in np.flatnonzero(correct.any(1)):
        hits = np.flatnonzero(correct[d])
        target[d, hits] = np.where(taken[:, hits], -1, overlap[:, d, None]).argmax(0)
        taken[target[d, hits], hits] = True
    return target


def _common(images: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images": len(images),
        "names": tuple(image["name"] for image in images),
        "image": np.repeat(np.arange(len(images)), [len(image["cls"]) for image in images]),
        "cls": _joined(images, "cls", int),
        "confidence": _joined(images, "confidence", np.float32),
        "target_image": np.repeat(np.arange(len(images)), [len(image["target_cls"]) for image in images]),
        "target_cls": _joined(images, "target_cls", int),
    }


def _areas(boxes: np.ndarray) -> np.ndarray:
    """Return the areas of boxes given by two corners or, rotated, by center, width, height and angle."""
    return (boxes[:, 2:4] - boxes[:, :2] if boxes.shape[1] == 4 else boxes[:, 2:4]).prod(1)


def _joined(images: list[dict[str, Any]], key: str, kind: type) -> np.ndarray:
    return np.concatenate([image[key] for image in images]).astype(kind)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
