"""Take pictures of reports with Chromium; without one, nothing is done.

``python tools/screenshot_report.py`` makes the pictures of ``docs/compare.md``; with ``REPORT.html [...] -o OUT`` after
it, pictures of these pages, as ``OUT/REPORT-WIDTH-SCHEME.png``.
"""

from instruments.report_pictures import main

if __name__ == "__main__":
    main()
