"""Pack a model into a folder that opens where yolo-attn is not installed.

A checkpoint names the classes of its modules, and so needs them. The folder holds the model's computation as
TorchScript, which needs torch alone and which plain Ultralytics opens, and what it takes to train further where
yolo-attn is there: the weights, as a file of tensors that runs no code, and the model YAML.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from yolo_attn.errors import YoloAttnError
from yolo_attn.export.check import export_checked
from yolo_attn.host.checkpoints import open_source
from yolo_attn.host.compat import dynamic_torchscript
from yolo_attn.host.model_files import write_model
from yolo_attn.train.yolo import YOLO
from yolo_attn.util.env import version_of
from yolo_attn.util.files import write_all, write_json, write_whole

SCRIPT, WEIGHTS, FACTS, READ_ME = "model.torchscript", "weights.pt", "model.json", "README.md"


def pack(model: str | Path, folder: str | Path, imgsz: int | None = None) -> Path:
    """Write a checkpoint's model as files that need nothing of this package.

    Args:
        model: The checkpoint.
        folder: Where to write; made if it is not there.
        imgsz: Side of the images it is traced with and checked at; by default what it was trained with. It takes other
            sizes as well.

    Returns:
        The folder.

    Raises:
        YoloAttnError: If the model cannot be read, or its TorchScript differs from it.
    """
    source = open_source(model)
    with tempfile.TemporaryDirectory() as scratch:
        made = _make(source, Path(model).name, Path(scratch), imgsz)
        write_all(Path(folder), {file.name: file.read_bytes() for file in made})
    return Path(folder)


def _make(source: Any, name: str, scratch: Path, imgsz: int | None) -> list[Path]:
    """Make the files of the folder, and return where they are."""
    script, comparisons = _make_script(source.pt_path, scratch, imgsz)
    where = scratch / "folder"
    where.mkdir()
    made_with = {name.replace("-", "_"): version_of(name) for name in ("yolo-attn", "ultralytics", "torch")}
    facts = {
        "task": source.task,
        "names": source.names,
        "stride": int(max(source.stride)),
        "channels": source.yaml.get("channels", 3),
        "made_from": name,
        "made_with": made_with,
        "check": comparisons,
    }
    script.rename(where / SCRIPT)
    write_model(dict(source.yaml), where)
    torch.save({name: tensor.detach().clone() for name, tensor in source.state_dict().items()}, where / WEIGHTS)
    write_json(where / FACTS, facts)
    write_whole(where / READ_ME, _READ_ME.format(name=name, task=source.task, **made_with))
    return sorted(where.iterdir())


def _make_script(checkpoint: str, scratch: Path, imgsz: int | None) -> tuple[Path, list[dict[str, object]]]:
    """Export to TorchScript with free sizes, and return the file and how it compares with the model."""
    copy = shutil.copy(checkpoint, scratch / "model.pt")  # Ultralytics writes exports next to the checkpoint
    size = {} if imgsz is None else {"imgsz": imgsz}
    with dynamic_torchscript():
        made = export_checked(YOLO(str(copy)), format="torchscript", dynamic=True, device="cpu", **size)
    if made.failures:
        raise YoloAttnError(f"'{checkpoint}' cannot be packed, its TorchScript differs from it: {made.failures[0]}")
    return Path(made.file), made.as_dict()["comparisons"]


def summary(folder: Path) -> str:
    """Describe a packed folder: its files, and the comparison of its model with the checkpoint."""
    checks = json.loads((folder / FACTS).read_text(encoding="utf-8"))["check"]
    sizes = ", ".join(f"{c['worst']:.2g} at {'x'.join(map(str, c['shape']))}" for c in checks)
    return f"{folder}: {SCRIPT}, model.yaml, {WEIGHTS}, {FACTS}, {READ_ME}\nworst difference to the checkpoint: {sizes}"


_READ_ME = """# {name}, packed

Written by yolo-attn {yolo_attn}, with ultralytics {ultralytics} and torch {torch}.

`model.torchscript` needs no yolo-attn. With Ultralytics:

```python
from ultralytics import YOLO
YOLO("model.torchscript", task="{task}").predict("image.jpg")  # also: yolo predict model=model.torchscript source=...
```

With torch alone:

```python
import json, torch
facts = json.load(open("model.json"))               # task, names, stride
model = torch.jit.load("model.torchscript").eval()  # takes (N, 3, H, W), RGB in [0, 1], sides multiples of the stride
output = model(torch.zeros(1, 3, 640, 640))         # raw output of the model, before non-maximum suppression
```

`model.yaml` and `weights.pt` (tensors only, `torch.load(..., weights_only=True)`) are for training further, which needs
yolo-attn:

```python
import yolo_attn as ya
model = ya.YOLO("model.yaml").load("weights.pt")
```
"""
