"""Take pictures of reports with Chromium; without one, nothing is done.

``python tools/screenshot_report.py`` makes the pictures of ``docs/compare.md``; with ``REPORT.html [...] -o OUT`` after
it, pictures of these pages, as ``OUT/REPORT-WIDTH-SCHEME.png``.
"""

import argparse
import shutil
from pathlib import Path

from instruments.report_pictures import of_documentation, of_pages

if __name__ == "__main__":
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
