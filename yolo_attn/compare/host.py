"""Run one training and one validation of a comparison, and record its matches."""

from __future__ import annotations

import csv
import inspect
import io
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
import ultralytics
from ultralytics.cfg import get_cfg
from ultralytics.data.converter import coco80_to_coco91_class
from ultralytics.engine.validator import BaseValidator
from ultralytics.utils import LOGGER, ops, torch_utils
from ultralytics.utils import metrics as host_metrics

from yolo_attn.compare.run_folder import COCO_MATCHES, MATCHES
from yolo_attn.compare.trainer import ComparisonMixin
from yolo_attn.errors import YoloAttnError
from yolo_attn.evaluate.ap import average_precision, map_by_ties, mean_average_precision
from yolo_attn.evaluate.coco_ap import Boxes
from yolo_attn.evaluate.condense import condense, match_and_condense
from yolo_attn.evaluate.matches import Matches
from yolo_attn.evaluate.recorder import RecorderMixin, matched_targets
from yolo_attn.host.compat import grad_scaler
from yolo_attn.host.derived_class import made_once
from yolo_attn.host.devices import cpu_threads
from yolo_attn.host.yolo import component
from yolo_attn.train.freeze import as_base_rows
from yolo_attn.train.resume import read_state
from yolo_attn.train.yolo import YOLO
from yolo_attn.util.files import is_whole_archive, replace_whole

_SHARED = ("batch", "workers", "split", "single_cls", "classes", "conf", "iou", "max_det", "rect")
"""Training arguments that validation takes as well."""
_PER_IMAGE = {"_process_batch": ["self", "preds", "batch"], "_prepare_pred": ["self", "pred"]}
"""Methods of a validator that matches image by image, in pixels of the network's input, and knows the image's file."""


# --- one training -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Trained:
    """Results of one training.

    Attributes:
        last: Checkpoint of the last epoch.
        epochs: Ultralytics' record, one mapping per epoch.
        history: Values that the trainer recorded: device, image size, seconds, checksum of batches.
    """

    last: Path
    epochs: list[dict[str, float]]
    history: dict[str, Any]


def train(
    model: Path,
    data: str,
    weights: str | None,
    seed: int,
    save_dir: Path,
    overrides: Mapping[str, Any],
    threads: int | None = None,
) -> Trained:
    """Train a model YAML, resuming from its last complete epoch, and return the result.

    Args:
        model: Model YAML; its name states the scale.
        data: Data YAML.
        weights: Checkpoint to start from, or ``None`` to start from scratch.
        seed: Ultralytics' seed.
        save_dir: Folder for Ultralytics' files.
        overrides: Further training arguments; the rows in ``freeze`` are those of the base.
        threads: Threads to train with on the CPU; Ultralytics' choice by default.

    Raises:
        YoloAttnError: If memory was too small for the batch.
    """
    state = _readable_state(save_dir)
    if state is None or not state["complete"]:
        with cpu_threads(threads):
            yolo = YOLO(str(model))
            yolo.train(
                trainer=_compared(component(yolo, "trainer")),
                **{**overrides, "freeze": as_base_rows(overrides.get("freeze"))},
                data=data,
                pretrained=weights or False,
                seed=seed,
                project=str(save_dir.parent),
                name=save_dir.name,
                exist_ok=True,
            )
        state = read_state(save_dir / "weights")
    if state is None:
        raise RuntimeError(f"the training in '{save_dir}' left no state")
    rows = csv.DictReader(io.StringIO(state["csv"]))
    epochs = [{k.strip(): float(v) for k, v in row.items()} for row in rows]
    return Trained(save_dir / "weights" / "last.pt", epochs, state["history"])


def _readable_state(save_dir: Path) -> dict[str, Any] | None:
    """Return the state of a training that was stopped; where it cannot be used, remove it, to train from the start."""
    try:
        state = read_state(save_dir / "weights")
        if state is not None:
            _check_state(state, save_dir)
        return state
    except YoloAttnError as error:
        LOGGER.warning(f"{error}; the training starts again")
        shutil.rmtree(save_dir)
        return None


def _check_state(state: Mapping[str, Any], save_dir: Path) -> None:
    """Check that a state is that of the run in whose folder it lies, and the checkpoint of a complete one is whole."""
    run, last = Path(state["run"][0]).parent.name, save_dir / "weights" / "last.pt"
    if run != save_dir.parent.name:
        raise YoloAttnError(f"the state in '{save_dir}' is that of {run}")
    if state["complete"] and not (last.is_file() and is_whole_archive(last)):
        raise YoloAttnError(f"'{last}' is {'damaged' if last.is_file() else 'missing'}")


def training_step(model: Any, imgsz: int, batch: int, device: str, amp: bool) -> Callable[[], object]:
    """Return a function that trains a model by one step, to be timed: loss, backward pass, step of the optimizer.

    The images are noise with four random boxes each. The optimizer is SGD with momentum; as in Ultralytics' training
    the weights that turn distributions into distances are frozen. What else a trainer does is not part of it: loading,
    clipping of gradients, the moving average of the weights.

    Args:
        model: A detection model; it is moved to the device and stays in training mode.
        imgsz: Side of the images, in pixels.
        batch: Images per step.
        device: Torch device.
        amp: Whether to train in mixed precision with float16, as on a CUDA device.
    """
    model.args = get_cfg()
    model.to(device).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".dfl" not in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-6, momentum=0.9, nesterov=True)
    scaler = grad_scaler(amp, initial_scale=128.0)  # so small that no step is left out for an overflow
    images = _images_with_boxes(imgsz, batch, device)

    def step() -> None:
        with torch.autocast(torch.device(device).type, enabled=amp, dtype=torch.float16 if amp else None):
            loss, _ = model(images)
        scaler.scale(loss.sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return step


def _images_with_boxes(imgsz: int, batch: int, device: str, each: int = 4) -> dict[str, torch.Tensor]:
    """Return a batch as Ultralytics' loader gives it to a model, boxes as centre and size in shares of the image."""
    generator = torch.Generator().manual_seed(0)
    centres, sizes = (torch.rand(batch * each, 2, generator=generator) for _ in range(2))
    content = {
        "img": torch.rand(batch, 3, imgsz, imgsz, generator=generator),
        "cls": torch.zeros(batch * each, 1),
        "bboxes": torch.cat((0.2 + 0.6 * centres, 0.1 + 0.3 * sizes), 1),
        "batch_idx": torch.arange(batch).repeat_interleave(each).float(),
    }
    return {name: values.to(device) for name, values in content.items()}


def strip(checkpoint: Path, to: Path) -> Path:
    """Write a checkpoint without the state that only training needs."""
    return replace_whole(to, lambda part: torch_utils.strip_optimizer(checkpoint, str(part)))


@made_once
def _compared(host: type) -> type:
    return type(f"Compared{host.__name__}", (ComparisonMixin, host), {"__module__": __name__})


# --- one validation ---------------------------------------------------------------------------------------------------
class Evaluated(NamedTuple):
    """mAP, precision and recall of boxes as Ultralytics has them, and the records they come from."""

    metrics: dict[str, float]
    matches: Matches
    boxes: Boxes | None

    def store(self, folder: Path) -> dict[str, Any]:
        """Write the records into the folder of a run; return what its result says of the validation."""
        condense(self.matches, ap_tail()).save(folder / MATCHES)
        (folder / COCO_MATCHES).unlink(missing_ok=True)
        if self.boxes is not None:
            match_and_condense(self.boxes).save(folder / COCO_MATCHES)
        return {"metrics": self.metrics, "ap_tail": ap_tail(), "detections": len(self.matches.cls)}


def evaluate(
    checkpoint: Path, data: str, imgsz: int, overrides: Mapping[str, Any], threads: int | None = None
) -> Evaluated:
    """Validate a checkpoint.

    Args:
        checkpoint: What to validate.
        data: Data YAML.
        imgsz: Side of the images, in pixels.
        overrides: Training arguments; those that validation shares are used.
        threads: Threads to use on the CPU; Ultralytics' choice by default.

    Raises:
        RuntimeError: If the matches do not give the mAP that Ultralytics computed.
    """
    shared = {k: overrides[k] for k in (*_SHARED, "device") if overrides.get(k) is not None}
    made = []

    def validator(**kwargs: Any) -> Any:
        made.append(_recording(host)(**kwargs))
        return made[0]

    yolo = YOLO(str(checkpoint))
    host = component(yolo, "validator")
    with tempfile.TemporaryDirectory() as scratch, cpu_threads(threads):
        box = yolo.val(validator=validator, data=data, imgsz=imgsz, plots=False, project=scratch, **shared).box
    matches = made[0].matches()
    ours = float(mean_average_precision(average_precision(matches, tail=ap_tail()))[0])
    if abs(ours - float(box.map)) > 1e-9 and not _is_by_ties(matches, float(box.map)):
        raise RuntimeError(f"the records of {checkpoint} give an mAP50-95 of {ours}, Ultralytics has {float(box.map)}")
    names = {"mAP50": box.map50, "mAP50-95": box.map, "precision": box.mp, "recall": box.mr}
    return Evaluated({name: float(value) for name, value in names.items()}, matches, made[0].boxes())


def _is_by_ties(matches: Matches, host_map: float) -> bool:
    """Tell whether an mAP of Ultralytics comes from another order of detections of equal confidence."""
    lowest, highest = map_by_ties(matches, tail=ap_tail())
    return lowest - 1e-9 <= host_map <= highest + 1e-9


def match_boxes(
    boxes: np.ndarray, cls: np.ndarray, target_boxes: np.ndarray, target_cls: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Match the detections of one image with its targets, as the validation of the installed Ultralytics does.

    Args:
        boxes: Detected boxes (two corners), by descending confidence. Shape ``(D, 4)``.
        cls: Their classes. Shape ``(D,)``.
        target_boxes: Labelled boxes. Shape ``(G, 4)``.
        target_cls: Their classes. Shape ``(G,)``.

    Returns:
        Whether each detection is a true positive, and the index of its target (-1 for none), by IoU threshold. Shape
        ``(D, T)`` each.
    """
    thresholds = torch.linspace(0.5, 0.95, 10)
    correct = np.zeros((len(cls), len(thresholds)), bool)
    overlap = None
    if len(cls) and len(target_cls):
        classes, targets = (torch.as_tensor(np.asarray(values), dtype=torch.float32) for values in (cls, target_cls))
        iou = box_overlap(target_boxes, boxes)
        matcher: Any = SimpleNamespace(iouv=thresholds)
        correct = BaseValidator.match_predictions(matcher, classes, targets, iou).numpy().astype(bool)
        overlap = (iou * (targets[:, None] == classes)).numpy()
    return correct, matched_targets(correct, overlap)


def box_overlap(boxes: np.ndarray, others: np.ndarray) -> torch.Tensor:
    """Return the IoU of boxes, given by two corners, with others: ``(N, 4)``, ``(M, 4)`` -> ``(N, M)``."""
    some, more = (torch.as_tensor(np.asarray(held), dtype=torch.float32) for held in (boxes, others))
    return host_metrics.box_iou(some, more)


def coco_ids() -> list[int]:
    """Return COCO's category id, up to 90, of each of its 80 classes."""
    return coco80_to_coco91_class()


def ap_tail() -> Literal["drop", "ramp"]:
    """Return how the installed Ultralytics continues a precision curve beyond its last recall: ``drop`` or ``ramp``."""
    return "drop" if host_metrics.compute_ap([0.5], [1.0])[0] < 0.6 else "ramp"


def check_records(task: str) -> None:
    """Make sure, before anything is trained, that validation of a task shows which detection matched which object.

    Raises:
        YoloAttnError: If it does not.
    """
    task_map: Any = ultralytics.YOLO.task_map
    _recording(task_map.fget(None)[task]["validator"])


def _parameters(host: type, method: str) -> list[str]:
    return list(inspect.signature(getattr(host, method)).parameters) if hasattr(host, method) else []


@made_once
def _recording(host: type) -> type:
    if any(_parameters(host, method) != wanted for method, wanted in _PER_IMAGE.items()):
        raise YoloAttnError(
            f"{host.__name__} of this Ultralytics has no per-image matches to record; a comparison needs a model that "
            f"detects boxes, and Ultralytics 8.3.168 or later"
        )
    members = {"__module__": __name__, "in_original_pixels": staticmethod(_to_original_pixels)}
    return type(f"Recording{host.__name__}", (RecorderMixin, host), members)


def _to_original_pixels(boxes: torch.Tensor, batch: Mapping[str, Any]) -> torch.Tensor:
    """Return boxes of the network's input in pixels of the image's file, two corners or, rotated, center and size."""
    to: dict[str, Any] = {"ratio_pad": batch["ratio_pad"], "xywh": boxes.shape[1] == 5}
    scaled = ops.scale_boxes(batch["imgsz"], boxes.clone(), batch["ori_shape"], **to)
    return cast("torch.Tensor", scaled)  # as the boxes given
