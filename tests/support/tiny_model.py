"""A detector of a few thousand weights that holds every block, in rows and inside a host block.

``python -m support.tiny_model FOLDER``, run in ``tests``, writes the checkpoints that ``test_checkpoints.py`` opens.
Those of a release stay as they are: they stand for the files that users have. A new release may add a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

import yolo_attn as ya
from support.random_weights import calibrate_norms, randomize
from yolo_attn.export.check import photographs

VARIANTS = {
    **{name: (name, {}) for name in ya.ATTENTION_BLOCKS},
    "GC mul, avg": ("GC", {"fusion": "add+mul", "pooling": "avg"}),
    "NL dot product": ("NL", {"mode": "dot_product"}),
    "scSE concat": ("scSE", {"combine": "concat"}),
    "SE identity": ("SE", {"init": "identity", "bias": True}),
    "ELA L": ("ELA", {"variant": "L"}),
}
"""Blocks by a name of their own: every class, and hyper-parameters that change what it holds."""

FACTORS = {"LSKA": 0.1, "LSK": 0.03, "MSCA": 0.1}
"""Noise of blocks whose factors have no bound: they stay near 1, so that several leave the features in size."""

CHANNELS = 16
NOISE = 0.3


def blocks() -> dict[str, nn.Module]:
    """Return every block and variant, small and with random values, ready for inference."""
    torch.manual_seed(1)
    return {
        name: randomize(ya.create_attention(block, CHANNELS, **hyper), NOISE).eval()
        for name, (block, hyper) in VARIANTS.items()
    }


def feature_map() -> Tensor:
    """Return a deterministic feature map."""
    values = torch.arange(CHANNELS * 4 * 3, dtype=torch.float64).mul(0.7).sin()
    return values.float().reshape(1, CHANNELS, 4, 3)


def image(side: int = 64) -> Tensor:
    """Return a deterministic image."""
    values = torch.arange(3 * side * side, dtype=torch.float64).mul(0.013).sin()
    return (values.float().reshape(1, 3, side, side) + 1) / 2


def model_yaml() -> dict[str, object]:
    """Return a model with every block in a row, two behind each convolution, and one inside a C3k2."""
    rows: list[list[object]] = [[-1, 1, "Conv", [CHANNELS, 3, 2]]]
    names = list(ya.ATTENTION_BLOCKS)
    for i in range(0, len(names), 2):
        rows += [[-1, 1, "Conv", [CHANNELS, 3, 2 if i in (0, 4, 8) else 1]]]
        rows += [[-1, 1, name, []] for name in names[i : i + 2]]
    rows.append([-1, 1, "C3k2_CA@inner", [CHANNELS, False]])
    head = [[[len(rows) - 1], 1, "Detect", ["nc"]]]
    scales = {"n": [1.0, 1.0, 1024]}  # early releases of Ultralytics build no C3k2 without
    return {"nc": 2, "reg_max": 1, "scale": "n", "scales": scales, "backbone": rows, "head": head}


def model(folder: Path, content: dict[str, object] | None = None) -> nn.Module:
    """Build the model with random weights and calibrated batch statistics, in evaluation mode."""
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content or model_yaml()), encoding="utf-8")
    torch.manual_seed(2)
    built = ya.YOLO(str(file)).model
    for block in [m for m in built.modules() if type(m) in ya.ATTENTION_BLOCKS.values()]:
        if noise := FACTORS.get(type(block).__name__):
            randomize(block, noise, keep=False).proj.bias.data.add_(1)
        else:
            randomize(block, NOISE)
    with torch.no_grad():
        for scores in built.model[-1].cv3:
            scores[-1].bias.zero_()
    return calibrate_norms(built, photographs((4, 3, 64, 64)))


def checkpoint(folder: Path, name: str = "best.pt", content: dict[str, object] | None = None) -> Path:
    """Write a checkpoint of the model in half precision, as a training does."""
    file = folder / name
    torch.save({"model": model(folder, content).half(), "train_args": {"imgsz": 64, "task": "detect"}}, file)
    return file


def write_fixtures(folder: Path) -> None:
    """Write checkpoints and their outputs."""
    folder.mkdir(parents=True)
    made = blocks()
    with torch.no_grad():
        torch.save({"blocks": made, "expected": {k: b(feature_map()) for k, b in made.items()}}, folder / "blocks.pt")
        opened = ya.YOLO(str(checkpoint(folder, "model.pt"))).model.float().eval()
        expected = {"expected": opened(image())[0], "expected_float64": opened.double()(image().double())[0]}
        torch.save(expected, folder / "model-expected.pt")
    (folder / "tiny.yaml").unlink()


if __name__ == "__main__":
    write_fixtures(Path(sys.argv[1]))
