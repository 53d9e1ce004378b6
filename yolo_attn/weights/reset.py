"""Reset attention blocks to the values they start with."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import nn

from yolo_attn.host.registry import row_blocks


def reset_blocks(model: nn.Module) -> None:
    """Give every attention block of a model the values of a fresh one, so that ``init: identity`` holds again.

    A block may start from other values than those its layers reset themselves to. Blocks that were fused stay.

    Args:
        model: A model that keeps the model dict it was built from.
    """
    classes = tuple(row_blocks().values())
    blocks = {name: m for name, m in model.named_modules() if type(m) in classes}
    if blocks:
        given: Any = model
        yaml = deepcopy(given.yaml)
        fresh = type(given)(yaml, ch=yaml.get("channels", 3), verbose=False)
        for name, block in blocks.items():
            state = fresh.get_submodule(name).state_dict()
            if state.keys() == block.state_dict().keys():
                block.load_state_dict(state)
