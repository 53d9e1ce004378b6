"""Compare finished trainings without training anything: each is validated once on the same images.

Checkpoints and files of COCO predictions become runs like those of a trained comparison, which are evaluated in
processes of their own, stored, and summarised by the same statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolo_attn.compare import driver, run_folder
from yolo_attn.compare.contents import read_data
from yolo_attn.compare.finished_arms import Arms, read_arms
from yolo_attn.compare.finished_files import Finished, classes_differ, open_all
from yolo_attn.compare.folder import FINISHED, Log
from yolo_attn.compare.plan import ATTENTION, BASELINE, MODEL, ArmSpec
from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.util import imports
from yolo_attn.util.env import version_of

SETTINGS = ("imgsz", "batch", "conf", "iou", "max_det", "split", "rect", "classes", "single_cls", "workers")
"""Arguments of validation that every model is evaluated with."""
CATEGORY_IDS = "category_ids"
"""Setting that says how the class numbers of predictions are to be read, where they do not tell."""
_IMGSZ = 640


def compare_finished(
    checkpoints: Sequence[str | Path] | Arms,
    out: str | Path,
    data: str | None = None,
    settings: Mapping[str, Any] | None = None,
    log: Log = lambda line: None,
    executor: str = "serial",
    per_device: int = 1,
    device: str | int | None = None,
    threads: int | None = None,
    speed_seconds: float = driver.SPEED_SECONDS,
) -> list[str]:
    """Validate finished checkpoints on the same images, time them, and write results and report.

    What is stored already, of the same file, data and settings, is not evaluated again.

    Args:
        checkpoints: Checkpoints or files of COCO predictions, the baseline first; or a mapping from the name of each
            model to its file, or to several files that differ by their seed.
        out: Folder for ``runs/``, ``speed/`` and the report.
        data: Data YAML; by default the one that all checkpoints were trained on.
        settings: Arguments of validation, any of ``SETTINGS``.
        log: Called with progress messages.
        executor: How evaluations are carried out: ``serial``, ``pool`` (in parallel on this machine) or ``ray``.
        per_device: Parallel evaluations on each GPU (or on the CPU).
        device: Devices as Ultralytics names them.
        threads: Threads of each evaluation on the CPU.
        speed_seconds: Time limit for timing the models, in seconds per batch size and precision; 0 to skip it.

    Returns:
        Failed evaluations, each with its reason; the others are stored.

    Raises:
        YoloAttnError: If files are missing or cannot be compared, or the data is not that of the models.
    """
    from yolo_attn.compare import host
    from yolo_attn.compare.predictions_json import read_predictions
    from yolo_attn.host.data import labelled_images, prepare_data

    settings = _checked(settings or {})
    arms = read_arms(checkpoints)
    opened = open_all(arms)
    task = next((found.task for found in opened.values()), "detect")
    host.check_records(task)
    _check_predictions(arms, opened, task)
    workers = driver.executor_of(executor, device, per_device, threads)
    settings, data = _completed(settings, opened), data or _common_data(opened)
    specs = specs_of(arms, opened, data, settings, workers.kind, threads)
    split = settings["split"]
    dataset = prepare_data(specs[0].data, _of_validation(settings), task, splits=[split])[split]
    for file in [file for files in arms.values() for file in files if file not in opened]:
        read_predictions(file, labelled_images(dataset), _count_classes(data), settings)  # refused here, not in its run
    described = [ArmSpec(name, _kind(i, files, opened), {}) for i, (name, files) in enumerate(arms.items())]
    return driver.store_and_summarize(
        specs, described, Path(out).resolve(), workers, log, speed_seconds, plan={FINISHED: True}
    )


def _check_predictions(arms: Mapping[str, Sequence[Path]], opened: Mapping[Path, Finished], task: str) -> None:
    held = next((file for files in arms.values() for file in files if file not in opened), None)
    if held is not None and task == "obb":
        raise YoloAttnError(f"'{held}' has boxes that are not rotated, the checkpoints are for '{task}'")


def _kind(number: int, files: Sequence[Path], opened: Mapping[Path, Finished]) -> str:
    if number == 0:
        return BASELINE
    if files[0] not in opened:
        return "predictions"
    return ATTENTION if opened[files[0]].attention else MODEL


# --- runs -------------------------------------------------------------------------------------------------------------
def specs_of(
    arms: Mapping[str, Sequence[Path]],
    opened: Mapping[Path, Finished],
    data: str,
    settings: Mapping[str, Any],
    kind: str,
    threads: int | None = None,
) -> list[run_folder.RunSpec]:
    """Return the evaluations of a comparison, seed by seed, the baseline first.

    Raises:
        YoloAttnError: If the data is missing, or has other classes than the checkpoints.
    """
    from yolo_attn.host.data import check_data
    from yolo_attn.host.devices import default_threads

    seen = read_data(data, [settings["split"]])
    names = {0: "item"} if settings["single_cls"] else check_data(data, present=True)["names"]
    for checkpoint in opened.values():
        _check_classes(checkpoint, data, names)
    shared: dict[str, Any] = {
        "data": str(seen.file),
        "data_checksum": seen.checksum,
        "images_checksum": seen.images_checksum,
        "weights": None,
        "weights_checksum": None,
        "overrides": settings,
        "versions": {name: version_of(name) for name in ("torch", "ultralytics", "yolo-attn")},
        "device": kind,
        "threads": threads or default_threads() if kind == "cpu" else None,
        "imports": imports.entries(),
        "imports_checksum": imports.checksum(imports.entries()),
    }
    seeds, arms = paired_by_seed(arms, opened)
    return [
        run_folder.RunSpec(
            arm=name,
            model=opened[files[i]].model if files[i] in opened else {},
            seed=seed,
            finished=str(files[i].resolve()),
            finished_checksum=run_folder.checksum(files[i].read_bytes()),
            **shared,
        )
        for i, seed in enumerate(seeds)
        for name, files in arms.items()
    ]


def paired_by_seed(
    arms: Mapping[str, Sequence[Path]], opened: Mapping[Path, Finished]
) -> tuple[list[int], dict[str, list[Path]]]:
    """Return the seeds, and the files of every arm in their order.

    The seeds are those that the checkpoints state, if all arms have the same; otherwise the files are counted from 0 in
    the order given.
    """
    stated = {
        name: {opened[file].train_args.get("seed"): file for file in files if file in opened}
        for name, files in arms.items()
    }
    count = len(next(iter(arms.values())))
    first = set(next(iter(stated.values())))
    if len(first) < count or None in first or any(set(seeds) != first for seeds in stated.values()):
        return list(range(count)), {name: list(files) for name, files in arms.items()}
    order = sorted(int(seed) for seed in first if seed is not None)
    return order, {name: [files[seed] for seed in order] for name, files in stated.items()}


# --- data and settings ------------------------------------------------------------------------------------------------
def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    from yolo_attn.host.data import NAMED_SPLITS

    for key, value in settings.items():
        if key == "data":
            raise YoloAttnError(f"data={value}: write --data {value}")
        if key == CATEGORY_IDS:
            from yolo_attn.compare.predictions_json import READINGS

            if value not in READINGS:
                raise YoloAttnError(one_of(CATEGORY_IDS, value, READINGS))
        elif key not in SETTINGS:
            if isinstance(value, str) and Path(value).suffix:
                raise YoloAttnError(f"{key}={value} is no checkpoint (.pt), nor a file of predictions (.json)")
            raise YoloAttnError(f"nothing is trained with --finished: {one_of('setting', key, SETTINGS)}")
    if (split := settings.get("split", "val")) not in NAMED_SPLITS:
        raise YoloAttnError(one_of("split", split, NAMED_SPLITS))
    batch = settings.get("batch", 16)
    if type(batch) is not int or batch < 1:
        raise YoloAttnError(f"batch={batch}: give a number of images, e.g. 16")
    return dict(settings)


def _completed(settings: Mapping[str, Any], opened: Mapping[Path, Finished]) -> dict[str, Any]:
    """Add the size of the images, that of the trainings if they have one, and the split."""
    sizes = {found.train_args["imgsz"]: found.file for found in opened.values() if found.train_args.get("imgsz")}
    if "imgsz" not in settings and len(sizes) > 1:
        shown = ", ".join(f"{size} ('{file}')" for size, file in sizes.items())
        raise YoloAttnError(f"the checkpoints were trained with images of different sizes: {shown}; give imgsz=")
    one_class = bool(opened) and all(found.single_cls for found in opened.values())
    return {"imgsz": next(iter(sizes), _IMGSZ), "batch": 16, "split": "val", "single_cls": one_class, **settings}


def _of_validation(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key in SETTINGS}


def _common_data(opened: Mapping[Path, Finished]) -> str:
    stated = {found.data: found.file for found in opened.values()}
    if len(stated) > 1:
        shown = ", ".join(f"'{data}' ('{file}')" for data, file in stated.items())
        raise YoloAttnError(f"--data is missing, and the checkpoints were trained on different data: {shown}")
    data = next(iter(stated), None)
    if data is None:
        raise YoloAttnError("--data is missing, and the files do not say which data they are of")
    return data


def _count_classes(data: str) -> int:
    from yolo_attn.host.data import check_data

    return len(check_data(data, present=True)["names"])


def _check_classes(checkpoint: Finished, data: str, names: Mapping[int, str]) -> None:
    """Refuse data of other classes; names in other words are taken, unless one is the name of another class."""
    difference = classes_differ(checkpoint.classes, names)
    renamed = len(checkpoint.classes) == len(names) and not (
        {n.casefold() for n in checkpoint.classes.values()} & {n.casefold() for n in names.values()}
    )
    if difference and not renamed:
        hint = "; was it trained with single_cls=True?" if len(checkpoint.classes) == 1 else ""
        raise YoloAttnError(f"'{checkpoint.file}' and data '{data}' have different classes: {difference}{hint}")
