"""Read, check and build the rows of a model dict with Ultralytics' own parser, without values where none are needed."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, like, nearest_file
from yolo_attn.host import registry, row_names, rows
from yolo_attn.host.channel_counts import WrittenWidths
from yolo_attn.host.compat import tasks
from yolo_attn.host.model_files import host_model_files
from yolo_attn.host.row_arguments import depends_on_channels, read_arguments
from yolo_attn.host.wiring import rows_of
from yolo_attn.util.lists import as_list

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn


def load_model_dict(path: str | Path) -> dict[str, Any]:
    """Read a model YAML, shipped, stock or the user's own, with the scale that its name states.

    Args:
        path: A path or a bare name, e.g. ``yolo11n-ela.yaml``.

    Returns:
        The content, with ``scale`` and ``yaml_file`` set as Ultralytics sets them.

    Raises:
        YoloAttnError: If there is no such file, or it holds no model.
    """
    try:
        model: Any = tasks().yaml_model_load(path)
    except FileNotFoundError as error:
        near = "" if "Did you mean" in str(error) else nearest_file(Path(path), "*.y*ml")
        raise like(error, f"no model YAML '{path}' here, of Ultralytics or of yolo_attn: {error}{near}") from error
    except YoloAttnError:
        raise
    except (ValueError, TypeError, AttributeError) as error:  # what it holds is no mapping, or no YAML at all
        raise like(error, f"'{path}' is not a model YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(model, dict) or not {"backbone", "head"} <= set(model):
        raise like(KeyError, f"'{path}' is not a model YAML: it has no 'backbone' and 'head'")
    rows.check_head(model, tasks(), path)
    return model


def check_rows(model: Mapping[str, Any]) -> None:
    """Make sure that a model dict has rows, and that their modules, sources and hyper-parameters exist.

    Raises:
        YoloAttnError: If not; the message names the row.
    """
    rows.prepare_rows(model, tasks())
    if not model["head"]:
        raise YoloAttnError("not a model: 'head' has no rows")


def fault_of(path: str | Path) -> str:
    """Return what is wrong with a model YAML that could not be built, or an empty string if nothing is found."""
    try:
        check_rows(load_model_dict(path))
    except YoloAttnError as error:
        return str(error)
    return ""


def row_strides(model: Mapping[str, Any], size: int = 256) -> list[float]:
    """Return the stride of each row's result but the head's, found by running the model's shapes.

    Args:
        model: A model dict; where it states no scale, its first is taken.
        size: Side of the image, in pixels; a multiple of the largest stride.

    Returns:
        Image pixels per pixel of the row's map; 0 where a row's result is no feature map.

    Raises:
        YoloAttnError: If the model cannot be built.
    """
    shapes = _shapes(model, size)
    return [size / shape[2] if len(shape) == 4 else 0.0 for shape in shapes]


def with_named_arguments(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a model dict in which the rows of our blocks have their hyper-parameters by name, and nothing else."""
    listed, written = rows_of(model), WrittenWidths(model)
    blocks = {i: registry.resolve(row[2])[1] for i, row in enumerate(listed) if means_block(row[2])}
    asked = [i for i, cls in blocks.items() if depends_on_channels(cls, as_list(listed[i][3]))]
    if not asked:
        return model
    widths = [shape[1] if len(shape) == 4 else 0 for shape in _shapes(model)]
    made = [list(row) for row in listed]
    for i in asked:
        source, _, name, args = listed[i]
        before = widths[:i] if i else [model.get("channels", 3)]
        called, found = name.removeprefix(registry.PREFIX), written.of_input(i, source, before)
        made[i][3] = [read_arguments(blocks[i], called, as_list(args), found).hyper]
    split = len(model["backbone"])
    return {**model, "backbone": made[:split], "head": made[split:]}


def _shapes(model: Mapping[str, Any], size: int = 256) -> list[tuple[int, ...]]:
    """Return the shape of the result of every row but the head; an empty one where it is no tensor."""
    import torch

    host = tasks()
    shapes: list[tuple[int, ...]] = []
    results: list[Any] = []
    layers = build_shapes(model)
    norms: list[Any] = [m for m in layers.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.forward = lambda x: x  # keeps the shape, and is slow on a device without values
    with torch.no_grad(), torch.device("meta"):
        x: Any = torch.zeros(1, model.get("channels", 3), size, size)
        text = torch.zeros(1, 1, 512)
        rows: list[Any] = list(layers.eval())
        for layer in rows[:-1]:
            if layer.f != -1:
                x = results[layer.f] if isinstance(layer.f, int) else [x if f == -1 else results[f] for f in layer.f]
            x = _result_of(layer, x, text, host)
            results.append(x)
            shapes.append(tuple(x.shape) if isinstance(x, torch.Tensor) else ())
    return shapes


def _result_of(layer: nn.Module, x: Any, text: Any, host: ModuleType) -> Any:
    if isinstance(layer, host.ImagePoolingAttn):  # changes the text embedding, not the map
        return None
    if registry.is_attention(layer):  # a block keeps its input's shape
        return x
    try:
        return layer(x, text) if isinstance(layer, host.C2fAttn) else layer(x)
    except Exception as error:
        raise YoloAttnError(f"row {layer.i} ({layer.type}) cannot run on what row {layer.f} gives: {error}") from error


def build_shapes(model: Mapping[str, Any], scale: str | None = None) -> nn.Sequential:
    """Return a model's rows built without values, on torch's ``meta`` device: nothing is computed or stored.

    Args:
        model: A model dict.
        scale: Scale to build it at; that of the model dict by default, or its first where it states none.

    Raises:
        YoloAttnError: If the model cannot be built.
    """
    import torch

    scale = scale or model.get("scale") or next(iter(model.get("scales") or [""]))
    with torch.device("meta"):
        try:
            sized = deepcopy({**model, "scale": scale})
            rows.prepare_rows(sized, tasks())
            return tasks().parse_model(sized, ch=model.get("channels", 3), verbose=False)[0]
        except YoloAttnError:
            raise
        except OSError as error:
            raise like(error, f"this model cannot be built here, it needs a download: {error}") from error
        except Exception as error:
            raise like(error, f"this model cannot be built: {type(error).__name__}: {error}") from error


def split_name(name: str) -> tuple[str, str, str | None] | None:
    """Take a row's module such as ``C3k2_ELA@inner`` apart: host block, attention block, place; ``None`` if it is none.

    Raises:
        YoloAttnError: If it is of this form, but one of its parts is unknown.
    """
    return row_names.split_name(name, tasks())


def means_block(name: str) -> bool:
    """Tell whether a row of this name is a block, not a class of that name which Ultralytics has or was given."""
    return row_names.means_block(name, tasks())


def is_row_module(name: str) -> bool:
    """Tell whether Ultralytics' parser has a class of this name: its own, one of torch, or the user's."""
    return rows.is_host_row(name, tasks())


def row_name(name: str) -> str:
    """Return what to write into a row for a block: its name, or ``yolo_attn.NAME`` where another class has it."""
    return row_names.row_name(name, tasks())


def host_scale(path: str | Path) -> str:
    """Return the scale that Ultralytics reads from a file's name, or an empty string."""
    return tasks().guess_model_scale(path)


def host_model_names() -> list[str]:
    """Return the file names of the installed Ultralytics' own model YAMLs."""
    return sorted({path.name for path in host_model_files()})


def reset_grid(head: Any) -> None:
    """Have a detection head lay out its grid of anchor points again at its next forward pass."""
    head.shape = None
