"""Check the links to other sites: ``python .ci/check_links.py [--offline]``.

Their form is always checked; without ``--offline`` each is asked for. Exit code 1: a link is malformed, or its page is
gone. Sites that refuse a program or do not answer in time are listed only. Exit code 2: no site answered, so that
there probably is no network.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
KINDS = (".md", ".ipynb", ".cff", ".yml", ".yaml", ".toml", ".py")
FOLDERS = ("docs/results/", "tests/", ".github/")
"""Folders that are left out: records of measurements, made-up addresses, and the forms of GitHub."""
OWN = "https://github.com/yolo-attn/yolo-attn"
SITE = "https://yolo-attn.github.io/"
PLAIN = ("http://www.w3.org/2000/svg", "http://images.cocodataset.org/")
"""A name that is no address, and a host without a certificate of its own."""
SECONDS = 10
GONE = (404, 410)

_URL = re.compile(r"https?://[^\s<>\"'`\\|\]}]+")
_FORMS = {
    "arxiv.org": r"/(abs|pdf)/\d{4}\.\d{4,5}(v\d+)?",
    "doi.org": r"/10\.\d{4,9}/\S+",
    "github.com": r"/[\w.-]+(/[\w.-]+(/.*)?)?",
}


def urls_in(text: str) -> list[str]:
    """Return the addresses in a text, without the punctuation behind them."""
    found = []
    for url in _URL.findall(text):
        while url[-1] in ".,;:!*_" or (url[-1] == ")" and url.count(")") > url.count("(")):
            url = url[:-1]
        found.append(url)
    return found


def files() -> list[Path]:
    """Return the files whose links are checked: those that git tracks, or all of an unpacked release."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    every = listed.split("\0") if listed else [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
    names = [name for name in every if name.endswith(KINDS) or name == "NOTICE"]
    return [ROOT / name for name in names if not name.startswith(FOLDERS) and (ROOT / name).is_file()]


def collect(paths: Iterable[Path]) -> dict[str, str]:
    """Return each address with the first file that has it; addresses that are filled in by a program are left out."""
    found: dict[str, str] = {}
    for path in paths:
        for url in urls_in(path.read_text(encoding="utf-8")):
            if not re.search(r"[{$*]|//localhost|//127\.|\.\.\.", url):
                found.setdefault(url, path.relative_to(ROOT).as_posix())
    return found


def fault(url: str) -> str | None:
    """Return what is wrong with the form of an address, or None."""
    parts = urlsplit(url)
    host = parts.netloc.removeprefix("www.")
    if parts.scheme != "https" and not url.startswith(PLAIN):
        return "not https"
    if not re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", host):
        return "not a host"
    if not re.fullmatch(_FORMS.get(host, ".*"), parts.path.rstrip("/") or "/"):
        return f"not an address of {host}"
    if re.fullmatch(rf"{OWN}/(blob|tree)/main/.+", url):
        file = ROOT / parts.path.split("/main/", 1)[1]
        return None if file.exists() else "not a file of this repository"
    return None


def ask(url: str) -> str:
    """Return ``ok``, ``gone`` or why no answer was had."""
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0 (link check of yolo-attn)"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            return "ok"
    except urllib.error.HTTPError as error:
        return "gone" if error.code in GONE else f"status {error.code}"
    except (OSError, ValueError) as error:
        return f"no answer: {getattr(error, 'reason', error)}"


def main(offline: bool) -> int:
    """Check all links and print those with a fault."""
    links = collect(files())
    faults = {url: said for url in links if (said := fault(url))}
    answers = {}
    if not offline:
        asked = [url for url in links if url not in faults and not url.startswith((OWN, SITE))]
        with ThreadPoolExecutor(8) as pool:
            answers = dict(zip(asked, pool.map(ask, asked), strict=True))
    for url, said in {**faults, **{url: said for url, said in answers.items() if said != "ok"}}.items():
        print(f"{links[url]}: {url}: {said}")
    print(f"{len(links)} links to other sites, {len(faults)} malformed", end="")
    print(f", {sum(said == 'gone' for said in answers.values())} gone" if answers else "")
    if faults or "gone" in answers.values():
        return 1
    return 2 if answers and all(said.startswith("no answer") for said in answers.values()) else 0


if __name__ == "__main__":
    sys.exit(main("--offline" in sys.argv[1:]))
