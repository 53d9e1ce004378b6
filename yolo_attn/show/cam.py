"""Class activation maps of a model's predictions: LayerCAM at the inputs of the head.

Paper: Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP 2021,
https://doi.org/10.1109/TIP.2021.3089943

Ultralytics' own ``predict(visualize=True)`` uses the same method where it exists, but stores a picture of the padded
input and no numbers. The map is therefore computed here, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from yolo_attn.host.model import reset_grid
from yolo_attn.models.built import model_layers

Target = tuple[int, float]
"""Prediction to explain, given by its class and its confidence."""


def layer_cam(model: nn.Module, image: Tensor, targets: Sequence[Target] = ()) -> np.ndarray:
    """Return the class activation map of a model's predictions over its input, ``(h, w)``, in [0, 1].

    For each prediction and each map ``A`` that the head reads it is ``relu(sum_c relu(ds/dA) A)``, ``s`` being the
    prediction's score for its class, scaled to a maximum of 1. The largest value of all predictions and maps counts, so
    that a weak prediction is not hidden by a strong one.

    Args:
        model: A YOLO model in evaluation mode.
        image: Its input, ``(1, 3, h, w)``.
        targets: Predictions to explain; by default the one with the highest score.
    """
    maps, scores, classes = _forward(model, image)
    chosen = [_nearest(scores, classes, target) for target in targets] or [int(scores.argmax())]
    found = torch.zeros(image.shape[2:], device=scores.device)
    for k in chosen:
        gradients = torch.autograd.grad(scores[k], maps, retain_graph=True, allow_unused=True)
        for activation, gradient in zip(maps, gradients, strict=True):
            if gradient is not None:
                found = torch.maximum(found, _normalized_cam(activation.detach(), gradient, image.shape[2:]))
    return found.cpu().numpy()


def _normalized_cam(activation: Tensor, gradient: Tensor, size: Sequence[int]) -> Tensor:
    cam = (gradient.clamp(min=0) * activation).sum(1, keepdim=True).clamp(min=0)
    cam = F.interpolate(cam, tuple(size), mode="bilinear", align_corners=False)[0, 0]
    return cam / cam.max() if cam.max() > 0 else cam


def _forward(model: nn.Module, image: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Run the model; return the inputs of its head, and score and class of every prediction."""
    head: Any = model_layers(model)[-1]
    maps: list[Tensor] = []
    logits: list[Tensor] = []
    reset_grid(head)  # one from inference cannot take part in gradients

    def read(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        given = inputs[0] if isinstance(inputs[0], (list, tuple)) else [inputs[0]]
        maps.extend(x for x in given if x.ndim == 4)

    handles = [head.register_forward_pre_hook(read)]
    if isinstance(linear := getattr(head, "linear", None), nn.Linear):  # of a classifier: scores before the softmax
        handles.append(linear.register_forward_hook(lambda module, inputs, output: logits.append(output)))
    try:
        with torch.enable_grad():
            output = model(image.detach().clone().requires_grad_(True))
    finally:
        for handle in handles:
            handle.remove()
    scores, classes = _predictions(logits[0] if logits else output, head)
    return maps, scores, classes


def _predictions(output: Any, head: Any) -> tuple[Tensor, Tensor]:
    """Return score and class of every prediction: all anchors times all classes, or those the head selected."""
    while isinstance(output, (list, tuple)):
        output = output[0]
    first = output[0]
    if first.ndim == 1:
        return first, torch.arange(len(first), device=first.device)
    decoder = type(head).__name__ == "RTDETRDecoder"
    if getattr(head, "end2end", False) or (decoder and first.shape[1] == 6):
        return first[:, 4], first[:, 5].long()
    scores = first[:, 4 : 4 + head.nc].T if decoder else first[4 : 4 + head.nc]  # (classes, anchors)
    classes = torch.arange(head.nc, device=first.device)[:, None].expand_as(scores)
    return scores.flatten(), classes.flatten()


def _nearest(scores: Tensor, classes: Tensor, target: Target) -> int:
    """Return the index of the prediction of the target's class with the nearest confidence."""
    wanted, confidence = target
    return int(((scores.detach() - confidence).abs() + 2.0 * (classes != wanted)).argmin())
