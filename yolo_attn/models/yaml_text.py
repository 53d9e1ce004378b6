"""Format a model dict as YAML text in Ultralytics' style, each row commented with its number and role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from yolo_attn.errors import YoloAttnError
from yolo_attn.host.model import host_scale, means_block
from yolo_attn.models.graph import Graph

_SIZE_WORDS = {2: "xsmall", 3: "small", 4: "medium", 5: "large", 6: "xlarge"}
_NOT_IN_HEADER = {"backbone", "head", "scales", "scale", "yaml_file"}


def to_text(model: Mapping[str, Any], title: str) -> str:
    """Return the text of a model YAML.

    The scale of the model dict is listed first, because Ultralytics takes the first if the file name states none.
    """
    graph = Graph(model)
    lines = [f"# {title}. Ultralytics YOLO model (AGPL-3.0), attention rows by yolo-attn (AGPL-3.0)."]
    if any("identity" in str(row[3]) for row in graph.rows):
        lines.append(
            "# init: identity starts a block as y = x; init: paper (the default) starts it as its authors did."
        )
    return rows_to_text(model, lines, row_comments(graph))


def rows_to_text(model: Mapping[str, Any], header: Sequence[str], comments: Sequence[str]) -> str:
    """Return the text of a model YAML with given comments.

    Args:
        model: The model dict.
        header: Lines at its top.
        comments: One for each row, without the ``#``.
    """
    lines = [*header, ""]
    lines += [f"{key}: {flow(value)}" for key, value in model.items() if key not in _NOT_IN_HEADER]
    if scales := model.get("scales"):
        stated = model.get("scale")
        lines += ["scales: # [depth, width, max_channels]; the model's name picks one, as in yolo11n-ela.yaml"]
        lines += [f"  {scale}: {flow(scales[scale])}" for scale in sorted(scales, key=lambda s: s != stated)]
    index = 0
    for section in ("backbone", "head"):
        lines += ["", f"{section}:", "  # [from, repeats, module, args]"]
        for row in model[section]:
            lines.append(f"  - {flow(list(row))} # {comments[index]}")
            index += 1
    return "\n".join(lines) + "\n"


def check_file_name(path: Path, scale: str | None) -> None:
    """Make sure that a model YAML can be saved under a name.

    Args:
        path: The file.
        scale: The scale of the model, if it states one.

    Raises:
        YoloAttnError: If the name does not end in ``.yaml``, or states another scale.
    """
    stated = host_scale(path)
    if path.suffix not in (".yaml", ".yml"):
        raise YoloAttnError(f"cannot save a model YAML as '{path}': the name must end in .yaml")
    if stated and scale and stated != scale:
        raise YoloAttnError(
            f"cannot save as '{path.name}': Ultralytics reads scale '{stated}' from that name, the base is of "
            f"scale '{scale}'; leave the scale out of the name, or put '{scale}' there"
        )


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).replace("\n...", "").strip()


def row_comments(graph: Graph) -> list[str]:
    """Return the number and the role of each row, e.g. ``16 (P3/8-small)``."""
    feeding = set(graph.sources(graph.last))
    comments = []
    for i, row in enumerate(graph.rows):
        level = graph.level(i)
        role = f"{level}/{int(graph.strides[i])}" if level else ""
        if i == graph.last:
            comments.append(f"{row[2]}({', '.join(graph.level(s) or str(s) for s in graph.sources(i))})")
        elif i in feeding and level:
            size = _SIZE_WORDS.get(int(level[1:]), "")
            comments.append(f"{i} ({role}-{size})" if size else f"{i} ({role})")
        elif means_block(row[2]) and level:
            comments.append(f"{i} ({role})")
        elif graph.section(i) == "backbone" and level and (i == 0 or graph.strides[i] > graph.strides[i - 1]):
            comments.append(f"{i}-{role}")
        elif row[2] == "Concat":
            from_backbone = any(graph.section(s) == "backbone" for s in graph.sources(i))
            comments.append(f"{i} cat {'backbone' if from_backbone else 'head'} {level}")
        else:
            comments.append(str(i))
    return comments
