"""Format the raw lines of :mod:`instruments.export_matrix` as Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from instruments.export_cells import FORMATS, blocks, cells_of
from instruments.random_models import NO_BLOCK
from yolo_attn.export.check import TOLERANCES
from yolo_attn.util.markdown import table

Line = Mapping[str, Any]

WORSE_THAN_BASE = 1.5
"""Largest accepted int8 difference, in multiples of that of the model without attention."""


def to_markdown(lines: Sequence[Line]) -> str:
    """Return the tables of everything that was measured."""
    parts = [
        "### Worst difference to PyTorch",
        _values(lines),
        *_reasons(lines),
    ]
    if any(line.get("milliseconds") for line in lines):
        parts += ["### Time of a forward pass beside the model without attention", _times(lines)]
    if any("validated" in line for line in lines):
        parts += ["### mAP50-95 of the file", _accuracy(lines)]
    return "\n\n".join(parts) + "\n"


def _values(lines: Sequence[Line]) -> str:
    columns = [(format, cell) for format in FORMATS for cell in cells_of(format)]
    head = ["block", *(f"{format} {_title(cell)}" for format, cell in columns), "left out"]
    rows = []
    for block in blocks():
        missing = next(
            (
                f"{x['left_out']['worst']:.1e} ({x['left_out']['typical']:.1e})"
                for x in lines
                if x["block"] == block and "left_out" in x
            ),
            "",
        )
        rows.append(
            [
                _name(block),
                *(_cell(*(_find(lines, b, *column) for b in (block, NO_BLOCK))) for column in columns),
                missing,
            ]
        )
    return _table(head, rows)


def _title(cell: Mapping[str, Any]) -> str:
    return f"{cell['precision']}{', free sizes' if cell['dynamic'] else ''}"


def _name(block: str) -> str:
    return "no attention" if block == NO_BLOCK else f"`{block}`"


def _find(lines: Iterable[Line], block: str, format: str, cell: Mapping[str, Any]) -> Line | None:
    wanted = {"block": block, "format": format, **cell}
    found = [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]
    return found[-1] if found else None


def _cell(line: Line | None, base: Line | None) -> str:
    if line is None or "not_measured" in line:
        return "not measured"
    if "error" in line:
        return "**fails**"
    found = _compared(line)
    shown = " / ".join("cannot run" if value is None else f"{value:.1e}" for value in found)
    return shown if all(v is not None and v <= _allowed(line, base) for v in found) else f"**{shown}**"


def beyond_tolerance(lines: Sequence[Line], block: str, format: str) -> list[str]:
    """Return the cells of a block and a format that are not as PyTorch: beyond the tolerance, failed, not measured.

    Eight bits are left out: with random weights these cells only find a broken file.
    """
    cells = [cell for cell in cells_of(format) if cell["precision"] != "int8"]
    shown = {
        "free sizes" if cell["dynamic"] else cell["precision"]: _cell(_find(lines, block, format, cell), None)
        for cell in cells
    }
    return [title for title, text in shown.items() if text.startswith("**") or text == "not measured"]


def _compared(line: Line) -> list[float | None]:
    counts = "worst" if line["precision"] == "fp32" else "typical"
    return [comparison[counts] for comparison in line["comparisons"]]


def _allowed(line: Line, base: Line | None) -> float:
    """Return a cell's tolerance; for int8, which suits random weights badly, that of the model without attention."""
    if line["precision"] != "int8" or not base or "comparisons" not in base:
        return TOLERANCES[line["precision"]]
    return WORSE_THAN_BASE * (_compared(base)[0] or 0.0)


def _reasons(lines: Iterable[Line]) -> list[str]:
    """Return a list of the cells that failed or were not measured, by reason."""
    cells_by_reason: dict[str, list[str]] = {}
    for line in lines:
        reasons = [line[key] for key in ("error", "not_measured") if key in line]
        reasons += [c["error"] for c in line.get("comparisons", ()) if c["error"]]
        for reason in reasons[:1]:
            cells_by_reason.setdefault(reason, []).append(f"{_name(line['block'])} {line['format']} {_title(line)}")
    items = [f"- {', '.join(cells)}: {reason}" for reason, cells in cells_by_reason.items()]
    return ["\n".join(items)] if items else []


def _times(lines: Sequence[Line]) -> str:
    timed = {(x["timed"], x["precision"]): x["milliseconds"] for x in lines if "timed" in x}
    columns = [key for key, times in timed.items() if times]
    rows = []
    for block in blocks():
        cells = []
        for key in columns:
            rounds = [r for r in timed[key] if block in r]
            if not rounds:
                cells.append("")
            elif block == NO_BLOCK:
                cells.append(f"{statistics.median(r[block] for r in rounds):.1f} ms")
            else:
                cells.append(f"{statistics.median(r[block] / r[NO_BLOCK] for r in rounds):.2f}")
        rows += [[_name(block), *cells]] if any(cells) else []
    return _table(["block", *(" ".join(key) for key in columns)], rows)


def _accuracy(lines: Sequence[Line]) -> str:
    found = {(x["block"], (x["validated"], x["precision"])): x["map"] for x in lines if "validated" in x}
    files = list(dict.fromkeys(file for _, file in found))
    rows = [
        [_name(block), *(f"{found[block, file]:.4f}" if (block, file) in found else "" for file in files)]
        for block in dict.fromkeys(block for block, _ in found)
    ]
    return _table(["block", *("PyTorch" if file[0] == "pt" else " ".join(file) for file in files)], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(table(head, rows))
