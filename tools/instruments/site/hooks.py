"""Hooks of the documentation site: pages of the blocks, and links that leave the folder of the documentation."""

from __future__ import annotations

import atexit
import posixpath
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]  # mkdocs loads this file by its path

from instruments.site.notebooks import notebook_pages  # noqa: E402
from instruments.site.pages import block_pages  # noqa: E402
from instruments.site.text import joined  # noqa: E402

COPIED = {"datasets.md": "datasets/README.md", "datasets.zh.md": "datasets/README.zh.md"}
"""Pages of the site whose source lies elsewhere in the repository."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)(#[^)\s]*)?(?=\))")


def on_config(config: Any) -> Any:
    """Build from a copy of the documentation, with the pages that are made from facts or lie elsewhere."""
    pages: dict[str, str | bytes] = dict(block_pages())
    for page, source in COPIED.items():
        if (ROOT / source).is_file():
            pages[page] = (ROOT / source).read_text(encoding="utf-8")
    pages |= notebook_pages(Path(config.docs_dir))
    folder = Path(tempfile.mkdtemp(prefix="yolo-attn-site-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copytree(config.docs_dir, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs", "speed", "*.gz"))
    for path, text in pages.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    config.docs_dir = str(folder)
    blocks = next(entry["Blocks"] for entry in config.nav if "Blocks" in entry)
    found = (page for page in pages if page.startswith("blocks/") and not page.endswith(".zh.md"))
    blocks += sorted({*found} - {*blocks}, key=str.lower)  # this is called for each language
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Point links that leave the documentation to the repository, and join the lines of Chinese text."""
    path = str(page.file.src_uri)
    if path.endswith(".zh.md"):
        markdown = joined(markdown)
    source = COPIED.get(path, f"docs/{path}")
    return _LINK.sub(lambda link: _target(link, source, path, config.repo_url), markdown)


def _target(link: re.Match[str], source: str, page: str, repository: str) -> str:
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
    anchor = link[2] or ""
    page_of = {source: page for page, source in COPIED.items()}
    if wanted in page_of:
        wanted = f"docs/{page_of[wanted]}"
    if wanted == "docs/README.md":
        wanted = "docs/index.md"
    if not page.startswith("notebooks/"):
        wanted = re.sub(r"(\.zh)?\.ipynb$", ".md", wanted)
    if wanted.startswith("docs/") and not _is_left_out(wanted):
        return posixpath.relpath(wanted, posixpath.dirname(f"docs/{page}")) + anchor
    kind = "tree" if (ROOT / wanted).is_dir() else "blob"
    return f"{repository}/{kind}/main/{wanted}{anchor}" if (ROOT / wanted).exists() else link[0]


def _is_left_out(path: str) -> bool:
    return bool(re.match(r"docs/results/.*(/runs/|/speed/|\.npz$|\.gz$)", path)) or (ROOT / path).is_dir()
