"""Format the summary of a bench as Markdown tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from yolo_attn.bench.cases import ModelCase
from yolo_attn.bench.summary import Summary
from yolo_attn.report.formatting import MISSING, number, plural, significant, slower_or_faster, with_interval
from yolo_attn.util.env import describe
from yolo_attn.util.markdown import table

_COLUMNS = (
    "ours fused", "ours", "tutorial", "timm", "ours fused compiled", "ours compiled",
    "tutorial compiled", "ours fused graph", "ours graph", "tutorial graph",
)  # fmt: skip
_MEANS = (
    "tutorial/ours", "ours/best", "ours/floor", "tutorial/floor", "tutorial compiled/ours compiled",
    "ours compiled/floor", "ours fused/floor", "ours/ours fused", "best/ours fused", "ours compiled/ours fused",
    "ours compiled/ours fused compiled", "ours graph/ours fused graph",
)  # fmt: skip
_FOLD_LEFT_OUT = 6


def to_markdown(summary: Summary) -> str:
    """Return all tables of a bench under a heading with hardware, versions and command."""
    env, request = summary["environment"], summary["request"]
    lines = [
        "# Cost of the attention blocks",
        "",
        f"{describe(env)}; {plural(env['threads'], 'thread')} on the CPU.",
        "",
    ]
    lines += [f"`{summary['command']}`", ""]
    if rate := summary["copy_rate"]:
        lines += [f"Copying moves {rate['best'] / 1e9:,.0f} GB/s (median {rate['median'] / 1e9:,.0f}).", ""]
    lines += [_how_to_read(request["device"]), ""]
    lines += [*_means(summary["means"])]
    for (dtype, layout, shape, pass_), blocks in _grouped(summary["blocks"], "dtype", "layout", "shape", "pass"):
        lines += [f"## {shape}, {pass_}, {dtype}, {layout}", "", *_times(blocks), ""]
    lines += [*_launches(summary["blocks"]), *_memory(summary["blocks"])]
    for model in summary["models"]:
        lines += [*_model(model)]
    lines += [*_left_out(summary)]
    return "\n".join(lines).rstrip() + "\n"


def _how_to_read(device: str) -> str:
    floor = (
        "the fewest bytes a block can move, at the rate of a copy"
        if device.startswith("cuda")
        else "one mean over the positions and one multiplication by a gate, in training with their gradients"
    )
    return (
        f"Milliseconds are medians per pass. The floor is {floor}. `tutorial / ours` above 1 means that ours is "
        "faster; in brackets its 95 % interval. Ours is also compared with the faster of the tutorial's and timm's; "
        "timm's blocks marked ~ compute something else and are left out of that. ! marks unstable times."
    )


def _grouped(groups: Iterable[Summary], *keys: str) -> Iterable[tuple[tuple[Any, ...], list[Summary]]]:
    found: dict[tuple[Any, ...], list[Summary]] = defaultdict(list)
    for group in groups:
        found[tuple(group[key] for key in keys)].append(group)
    return found.items()


# --- times ------------------------------------------------------------------------------------------------------------
def _means(means: Sequence[Summary]) -> list[str]:
    pairs = [pair for pair in _MEANS if any(pair in mean["ratios"] for mean in means)]
    if not pairs:
        return []
    rows = [
        [
            f"{mean['pass']}, {mean['dtype']}, {mean['layout']}",
            mean["shape"],
            *(number(mean["ratios"][pair]["ratio"], 2) if pair in mean["ratios"] else MISSING for pair in pairs),
        ]
        for mean in means
    ]
    head = ["", "shape", *(pair.replace("/", " / ") for pair in pairs)]
    return ["## Geometric means over the blocks", "", *table(head, rows), ""]


def _times(blocks: Sequence[Summary]) -> list[str]:
    columns = [name for name in _COLUMNS if any(name in block["times"] for block in blocks)]
    with_floor = any("floor" in block["times"] for block in blocks)
    head = ["block", *(f"{name}, ms" for name in columns), *["x floor"] * with_floor]
    rows = []
    for block in blocks:
        cells = [_milliseconds(block, name) for name in columns]
        cells += [number(_ratio(block, "ours/floor"), 2)] * with_floor
        rows.append([block["block"] + " !" * block["unstable"], *cells, _with_interval(block), _against_best(block)])
    return table([*head, "tutorial / ours", "ours against the best"], rows)


def _milliseconds(block: Summary, name: str) -> str:
    text = significant(block["times"].get(name, {}).get("median_ms"))
    return f"~{text}" if name == "timm" and name in block["times"] and not block["timm_is_same"] else text


def _with_interval(block: Summary) -> str:
    found = block["ratios"].get("tutorial/ours", {})
    return with_interval(found.get("ratio"), found.get("ratio_low"), found.get("ratio_high"), digits=2)


def _against_best(block: Summary) -> str:
    if block["verdict"] is None:
        return MISSING
    if block["verdict"] == "even":
        return f"even with {block['best']}"
    return f"{slower_or_faster(block['ratios']['ours/best']['ratio'])} than {block['best']}"


def _ratio(block: Summary, pair: str) -> float | None:
    return block["ratios"].get(pair, {}).get("ratio")


# --- memory, models, and the rest -------------------------------------------------------------------------------------
def _launches(blocks: Sequence[Summary]) -> list[str]:
    measured = [block for block in blocks if block["host_us"]]
    lines = []
    for (dtype, layout, pass_), some in _grouped(measured, "dtype", "layout", "pass"):
        names = [name for name in _COLUMNS if any(name in block["host_us"] for block in some)]
        rows = [
            [
                block["block"],
                block["shape"],
                *(f"{block['launches'].get(name, MISSING)}, {number(block['host_us'].get(name), 0)}" for name in names),
            ]
            for block in some
        ]
        title = f"## Kernels launched and microseconds of the host per call, {pass_}, {dtype}, {layout}"
        lines += [title, "", *table(["block", "shape", *names], rows), ""]
    return lines


def _memory(blocks: Sequence[Summary]) -> list[str]:
    lines = []
    measured = [block for block in blocks if block["memory"]]
    for (dtype, layout), some in _grouped(measured, "dtype", "layout"):
        lines += [f"## Memory kept for the backward pass, {dtype}, {layout}", "", _MEMORY, ""]
        peak = any(kept["peak_maps"] is not None for block in some for kept in block["memory"].values())
        names = [name for name in _COLUMNS if any(name in block["memory"] for block in some)]
        head = ["block", "shape", *names, *(f"{name}, peak" for name in names if peak)]
        rows = [
            [
                block["block"],
                block["shape"],
                *(_kept(block["memory"].get(name)) for name in names),
                *(number((block["memory"].get(name) or {}).get("peak_maps"), 2) for name in names if peak),
            ]
            for block in some
        ]
        lines += [*table(head, rows), ""]
    return lines


_MEMORY = "In multiples of the input: `x` where the input itself is kept, and everything else."


def _kept(kept: Mapping[str, Any] | None) -> str:
    return MISSING if kept is None else ("x + " if kept["x"] else "") + number(kept["maps"], 2)


def _model(model: Summary) -> list[str]:
    what = "training step" if model["pass"] == "training" else "latency, fused"
    unstable = ", unstable" if model["unstable"] else ""
    rows = [
        [
            name,
            significant(arm["median_ms"]),
            MISSING if name == "base" else with_interval(arm["ratio"], arm["ratio_low"], arm["ratio_high"], digits=3),
        ]
        for name, arm in model["arms"].items()
    ]
    what += ", CUDA graph" * model["graph"]
    title = f"## {model['model']}, {what}: {model['dtype']}, {model['imgsz']} px, batch {model['batch']}{unstable}"
    return [title, "", *table(["neck at P3, P4, P5", "ms", "time over the base"], rows), ""]


def _left_out(summary: Summary) -> list[str]:
    if not summary["left_out"]:
        return []
    lines = ["## Left out", ""]
    for (why,), records in _grouped(summary["left_out"], "why"):
        titles = [_title(record) for record in records]
        more = f" and {len(titles) - _FOLD_LEFT_OUT} more" if len(titles) > _FOLD_LEFT_OUT + 1 else ""
        titles = titles[:_FOLD_LEFT_OUT] if more else titles
        lines.append(f"- {why}: {'; '.join(titles)}{more}")
    return lines


def _title(record: Mapping[str, Any]) -> str:
    if record["of"] == "model":
        arm = f"{record['arm']}: " if record["arm"] else ""
        case = ModelCase(record["model"], record["dtype"], record["pass"], record["batch"], record.get("graph", False))
        return f"{arm}{case.title}"
    arm = f"{record['arm']}: " if record["arm"] else ""
    return f"{arm}{record['block']} {record['shape']} {record['dtype']} {record['layout']} {record['pass']}"
