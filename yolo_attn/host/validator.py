"""Base class of validator mixins: a public hook for the private method that matches detections with objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from yolo_attn.host import compat

if TYPE_CHECKING:
    _Validator: Any
else:
    _Validator = object


class ValidatorHooks(_Validator):
    """Base class of validator mixins, directly in front of an Ultralytics box validator.

    Non-maximum suppression finishes every image: Ultralytics' own validation drops the last images of a batch that
    takes longer than some seconds, so that its mAP depends on how busy the machine is.
    """

    def postprocess(self, preds: Any) -> Any:
        """Return the detections of a batch, however long that takes."""
        with compat.unhurried_nms():
            return super().postprocess(preds)

    def match_image(self, preds: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Match the detections of one image with its objects.

        Args:
            preds: Detections: ``bboxes``, ``conf``, ``cls``.
            batch: The image: ``bboxes``, ``cls``, ``im_file``.

        Returns:
            ``tp``: true positives by detection and IoU threshold, ``(D, T)``.
        """
        return super()._process_batch(preds, batch)

    def _process_batch(self, preds: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        return self.match_image(preds, batch)
