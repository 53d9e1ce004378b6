"""Record during validation, image by image, which detection matched which target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolo_attn.evaluate.coco_ap import Boxes
from yolo_attn.evaluate.matches import Matches
from yolo_attn.host.validator import ValidatorHooks


class RecorderMixin(ValidatorHooks):
    """Mixin for an Ultralytics detection validator: record matches and boxes of each image.

    Attributes:
        in_original_pixels: Converts boxes from pixels of the network's input to pixels of the image file; set by the
            class that uses the mixin.
    """

    in_original_pixels: Callable[[torch.Tensor, Mapping[str, Any]], torch.Tensor]

    def init_metrics(self, model: Any) -> None:
        """Start a validation with an empty record."""
        super().init_metrics(model)
        self.images: list[dict[str, Any]] = []

    def match_image(self, preds: dict[str, torch.Tensor], batch: dict[str, Any]) -> dict[str, np.ndarray]:
        """Match the detections of one image as the host does, and record the result."""
        self._overlap: np.ndarray | None = None
        found: dict[str, np.ndarray] = super().match_image(preds, batch)
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

    def match_predictions(
        self, pred_classes: torch.Tensor, true_classes: torch.Tensor, iou: torch.Tensor, **kwargs: Any
    ) -> Any:
        """Match as the host does, and record the IoU of boxes (not of masks or key points)."""
        if self._overlap is None:
            self._overlap = _numpy(iou * (true_classes[:, None] == pred_classes))
        return super().match_predictions(pred_classes, true_classes, iou, **kwargs)

    def matches(self) -> Matches:
        """Return the matches of all images, sorted by image name."""
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
        """Return the boxes of all images, sorted by image name, or ``None`` if boxes are rotated."""
        images = sorted(self.images, key=lambda image: image["name"])
        boxes, targets = _joined(images, "box", np.float32), _joined(images, "target_box", np.float32)
        return Boxes(**_common(images), boxes=boxes, target_boxes=targets) if boxes.shape[1] == 4 else None


def matched_targets(correct: np.ndarray, overlap: np.ndarray | None) -> np.ndarray:
    """Return the index of the target that each true positive was matched with, by IoU threshold, and -1 elsewhere.

    Ultralytics reports which detections are true positives but not their targets. By descending confidence, each true
    positive is matched with the free target of the highest IoU.

    Args:
        correct: Whether each detection is a true positive; detections by descending confidence. Shape ``(D, T)``.
        overlap: IoU of targets and detections, 0 where the classes differ. Shape ``(G, D)``.

    Returns:
        Target indices of shape ``(D, T)``.
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
    """Return the areas of boxes given by two corners or, if rotated, by center, width, height and angle."""
    sides = boxes[:, 2:4] - boxes[:, :2] if boxes.shape[1] == 4 else boxes[:, 2:4]
    area: np.ndarray = sides.prod(1)
    return area


def _joined(images: list[dict[str, Any]], key: str, kind: type) -> np.ndarray:
    return np.concatenate([image[key] for image in images]).astype(kind)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array
