"""Take pictures of HTML files with Chromium: ``python tools/screenshot_report.py OUT REPORT.html [REPORT.html ...]``.

Writes ``OUT/REPORT-WIDTH-SCHEME.png`` for two widths and two colour schemes. Does nothing where there is no Chromium.
"""

import argparse
import shutil
from pathlib import Path

from instruments.browser import Browser, write_png

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--widths", type=int, nargs="+", default=[1400, 390])
    parser.add_argument("--schemes", nargs="+", default=["light", "dark"])
    parser.add_argument("--height", type=int, help="at most so many pixels from the top")
    parser.add_argument("--open", action="store_true", help="unfold everything")
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium: nothing is done")
    arguments.out.mkdir(parents=True, exist_ok=True)
    with Browser(program) as browser:
        for page in arguments.pages:
            for width in arguments.widths:
                for scheme in arguments.schemes:
                    png = browser.screenshot(page, width, scheme, arguments.height, arguments.open)
                    print(write_png(png, arguments.out / f"{page.stem}-{width}-{scheme}.png"))
