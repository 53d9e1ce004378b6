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

import torch
import ultralytics

import yolo_attn
from yolo_attn.checkpoints import open_source
from yolo_attn.engine import YOLO
from yolo_attn.errors import YoloAttnError
from yolo_attn.export_check import export
from yolo_attn.files import replace_whole, write_json, write_torch, write_whole
from yolo_attn.model_files import write_model

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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "task": source.task,
        "names": source.names,
        "stride": int(max(source.stride)),
        "channels": source.yaml.get("channels", 3),
        "made_from": Path(model).name,
        "made_with": {m.__name__: m.__version__ for m in (yolo_attn, ultralytics, torch)},
        "check": _write_script(source.pt_path, folder / SCRIPT, imgsz),
    }
    write_model(dict(source.yaml), folder)
    tensors = {name: tensor.detach().clone() for name, tensor in source.state_dict().items()}
    write_torch(folder / WEIGHTS, tensors)
    write_json(folder / FACTS, facts)
    write_whole(folder / READ_ME, _READ_ME.format(name=Path(model).name, task=source.task, **facts["made_with"]))
    return folder


def _write_script(checkpoint: str, to: Path, imgsz: int | None) -> list[dict[str, object]]:
    """Export to TorchScript with free sizes, and return how it compares with the model."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copy(checkpoint, Path(scratch) / "model.pt")  # Ultralytics writes beside what it exports
        size = {} if imgsz is None else {"imgsz": imgsz}
        made = export(YOLO(str(copy)), format="torchscript", dynamic=True, device="cpu", **size)
        if made.failures:
            raise YoloAttnError(f"'{checkpoint}' cannot be packed, its TorchScript differs from it: {made.failures[0]}")
        replace_whole(to, lambda part: shutil.copy(made.file, part))
    return made.as_dict()["comparisons"]


def summary(folder: Path) -> str:
    """Say what a packed folder holds, and how its model compares with the checkpoint."""
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
output = model(torch.zeros(1, 3, 640, 640))         # what Ultralytics' model gives, before non-maximum suppression
```

`model.yaml` and `weights.pt` (tensors only, `torch.load(..., weights_only=True)`) are for training further, which needs
yolo-attn:

```python
import yolo_attn as ya
model = ya.YOLO("model.yaml").load("weights.pt")
```
"""
