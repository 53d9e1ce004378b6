"""One row of a model, built by Ultralytics' parser."""

import torch
from ultralytics.nn import tasks


def row(module, repeats, args):
    """One built row, reading a map of 64 channels."""
    model = {"nc": 3, "backbone": [[-1, 1, "Conv", [64, 3, 1]], [-1, repeats, module, list(args)]], "head": []}
    torch.manual_seed(0)
    return tasks.parse_model(model, ch=3, verbose=False)[0][1]
