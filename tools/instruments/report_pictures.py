"""Pictures of reports as a browser shows them."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from instruments.browser import Browser
from instruments.paths import ROOT

STORED, PICTURES = ROOT / "docs" / "results" / "coco3k-neck", ROOT / "docs" / "pictures"
_LONG = "yolo11n-attention-large-neck-variant-{}-hyper-init-identity-P3-P4-P5"


def of_documentation(program: str) -> list[Path]:
    """Make the pictures of the documentation: the stored example, and made-up results of 20 models."""
    made = of_pages(program, [STORED / "report.html"], PICTURES, [1400, 390], ["light", "dark"])
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report-20-models.html")
        page.write_text(_twenty_models(), encoding="utf-8")
        return made + of_pages(program, [page], PICTURES, [1400], ["light"])


def of_pages(
    program: str,
    pages: Sequence[Path],
    out: Path,
    widths: Sequence[int],
    schemes: Sequence[str],
    unfold: bool = False,
) -> list[Path]:
    """Take a picture of each page at each width in each colour scheme.

    Args:
        program: Chromium.
        pages: HTML files.
        out: Folder of the pictures; created if needed.
        widths: Widths of the window in pixels.
        schemes: ``light``, ``dark``.
        unfold: Whether all folded parts are opened.
    """
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for scheme in schemes:
        with Browser(program) as browser:  # anew: a page may remember the scheme of before
            for page in pages:
                name = page.resolve().parent.name if page.stem == "index" else page.stem
                for width in widths:
                    png = browser.screenshot(page, width, scheme, unfold)
                    made.append(write_png(png, out / f"{name}-{width}-{scheme}.png"))
    return made


def write_png(png: bytes, path: Path, colours: int = 40) -> Path:
    """Write a picture with few colours, as small as possible; return its path."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(colours, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def _twenty_models() -> str:
    """Return the report of made-up results: 20 models, some with long names, one whose runs failed."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.report_example import built, example

    from yolo_attn.report.html import to_html

    summary: dict[str, Any] = example(arms=20)
    text = json.dumps({**summary, "title": "20 models, made-up numbers"})
    for k in range(3, 20, 4):
        text = text.replace(f'"{summary["arms"][k]["name"]}"', f'"{_LONG.format(k)}"')
    summary = json.loads(text)
    failed = summary["arms"][9]["name"]
    summary["arms"][9] = {"name": failed, "kind": "attention", "seeds": []}
    failures = [{"arm": failed, "seed": seed, "reason": "CUDA out of memory"} for seed in (0, 1, 2)]
    summary["runs"] = {"planned": 60, "complete": 57, "failed": failures}
    for measurement in summary["speed"]["measurements"]:
        del measurement["arms"][failed]
    return to_html(built(summary))


def main() -> None:
    """Take the pictures that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="*")
    parser.add_argument("-o", "--output", type=Path, default=Path())
    parser.add_argument("--widths", type=int, nargs="+", default=[1400, 390])
    parser.add_argument("--schemes", nargs="+", default=["light", "dark"])
    parser.add_argument("--unfold", action="store_true", help="open all that is folded")
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium: nothing is done")
    if arguments.pages:
        made = of_pages(
            program, arguments.pages, arguments.output, arguments.widths, arguments.schemes, arguments.unfold
        )
    else:
        made = of_documentation(program)
    for path in made:
        print(path)
