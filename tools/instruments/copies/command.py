"""``tools/measure_copies.py``: measure, store, write the tables of the page and of its Chinese one."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from instruments.copies.forms import COPIES, Copy
from instruments.copies.measure import CHANNELS, Untrained, measure, times
from instruments.paths import RESULTS, ROOT
from instruments.site.tables import write_pages
from yolo_attn.util.env import environment
from yolo_attn.util.files import write_json
from yolo_attn.util.markdown import table

PAGE, RAW = ROOT / "docs" / "copies.md", RESULTS / "copies.json"
BASE = "yolo11n.yaml"
Raw = dict[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is asked for, store it, and write the tables."""
    parser = argparse.ArgumentParser(prog="python tools/measure_copies.py", description=__doc__)
    parser.add_argument("--map", nargs=2, metavar=("WEIGHTS.pt", "DATA.yaml"), help="also mAP before any training")
    parser.add_argument("--times", action="store_true", help="also times; without it those stored are kept")
    parser.add_argument("--table", action="store_true", help="measure nothing, write the tables of what is stored")
    parser.add_argument("--only", nargs="+", metavar="BLOCK", help="the copies of these blocks; the others stay stored")
    given = parser.parse_args(words)
    raw: Raw = json.loads(RAW.read_text(encoding="utf-8")) if RAW.is_file() else {"copies": {}, "mAP": {}}
    chosen = [copy for copy in COPIES if not given.only or copy.block in given.only]
    if not given.table:
        torch.set_num_threads(1)
        raw["where"] = environment()
        for copy in chosen:
            found = {**raw["copies"].get(copy.name, {}), **measure(copy), **(times(copy) if given.times else {})}
            raw["copies"][copy.name] = found
            write_json(RAW, raw)
            print(copy.name, found, file=sys.stderr)
    if given.map and not given.table:
        with contextlib.redirect_stdout(sys.stderr):  # Ultralytics logs to stdout
            measure_map(raw, chosen, *given.map)
    write_page(raw, PAGE)
    print(PAGE, *write_pages(), sep="\n")
    return 0


def measure_map(raw: Raw, chosen: Sequence[Copy], weights: str, data: str) -> None:
    """Measure the mAP of a model without a block, with each copy, and with the block of either initialisation."""
    untrained, found = Untrained(BASE, weights, data), raw["mAP"]
    found["base"] = untrained.of_base()
    for copy in chosen:
        found[copy.name] = untrained.of_block(copy, copied=True)
        for init in ("paper", "identity"):
            if f"{copy.block}, {init}" not in found:
                found[f"{copy.block}, {init}"] = untrained.of_block(copy, init)
        write_json(RAW, raw)


def write_page(raw: Raw, page: Path) -> None:
    """Write both tables of the page between their marks.

    Raises:
        ValueError: If the page lacks a mark.
    """
    text = page.read_text(encoding="utf-8")
    for name, lines in (("alone", table_of_blocks(raw)), ("mAP", table_of_map(raw))):
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{page} has no marks {begin.strip()} and {end}")
        head, rest = text.split(begin)
        text = head + begin + "\n".join(lines) + "\n" + end + rest.split(end)[1]
    page.write_text(text, encoding="utf-8")


def table_of_blocks(raw: Raw) -> list[str]:
    """Return the table of what is measured on the blocks alone."""
    head = ["copy", f"parameters, C={CHANNELS}", "time forward", "training", "gain at first", "other images", "option"]
    rows = []
    for copy in COPIES:
        if found := raw["copies"].get(copy.name):
            fails = "" if found["channels last"][0] else "; fails on channels-last maps"
            rows.append([
                copy.name + fails,
                " : ".join(f"{number:,}" for number in found["parameters"]),
                f"{found['forward']:.2f}",
                f"{found['training']:.2f}",
                " : ".join(f"{round(value, 2) + 0.0:.2f}" for value in found["gain"]),
                " : ".join(f"{100 * value:.0f} %" for value in found["mixing"]),
                option_of(copy),
            ])  # fmt: skip
    return table(head, rows)


def option_of(copy: Copy) -> str:
    """Return the option in the words of a model YAML."""
    if copy.option is None:
        return "none"
    words = {True: "true", False: "false"}
    given = ", ".join(f"{k}: {words.get(v, v) if isinstance(v, bool) else v}" for k, v in copy.option.items())
    return f"`{given}`" if given else "the default"


def table_of_map(raw: Raw) -> list[str]:
    """Return the table of mAP before any training."""
    found = raw["mAP"]
    rows = []
    for copy in COPIES:
        if copy.name in found:
            cells = [found[copy.name], found[f"{copy.block}, paper"], found[f"{copy.block}, identity"]]
            rows.append([copy.name, *map(map_cell, cells)])
    return table(["block in the neck of yolo11n", "copy", "`init=paper`", "`init=identity`"], rows)


def map_cell(value: float | str) -> str:
    """Return a mAP in four digits, or that it could not be measured."""
    return f"{value:.4f}" if isinstance(value, float) else "fails"
