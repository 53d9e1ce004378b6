"""Detections of a model in an image, in the same form for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Detection:
    """One object, or one class of a classified image.

    Attributes:
        label: Number of the class.
        name: Its name.
        confidence: In [0, 1].
        corners: Of its box, ``(4, 2)``, x and y in pixels of the image; ``None`` for a classified image.
    """

    label: int
    name: str
    confidence: float
    corners: np.ndarray | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        corners = None if self.corners is None else self.corners.round(1).tolist()
        return {"class": self.name, "confidence": round(self.confidence, 4), "corners": corners}


def detections(result: Any) -> list[Detection]:
    """Return the detections of an Ultralytics result, most confident first; for classification the top five."""
    if result.probs is not None:
        pairs = zip(result.probs.top5, result.probs.top5conf.tolist(), strict=True)
        return [Detection(int(k), result.names[int(k)], p, None) for k, p in pairs]
    if result.obb is not None:
        held, corners = result.obb, result.obb.xyxyxyxy.cpu().numpy().reshape(-1, 4, 2)
    else:
        held = result.boxes
        corners = held.xyxy.cpu().numpy()[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    labels = held.cls.int().tolist()
    found = [
        Detection(label, result.names[label], confidence, corners[k])
        for k, (label, confidence) in enumerate(zip(labels, held.conf.tolist(), strict=True))
    ]
    return sorted(found, key=lambda d: -d.confidence)
