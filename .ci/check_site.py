"""Check a built site: ``check_site.py FOLDER``.

It is refused if a page asks another host for anything, a page lacks a language, the reference lacks a public name, or
the search knows no Chinese words.
"""

import json
import re
import sys
from pathlib import Path

import yolo_attn

_REQUEST = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["']?https?://"""
    r"""|<link[^>]+rel=["']?(?:stylesheet|preload)["']?[^>]+https?://"""
    r"""|url\(["']?https?://"""
)
root = Path(sys.argv[1])
pages = sorted(page for page in root.rglob("*.html") if page.name == "index.html")
chinese = [page for page in pages if page.relative_to(root).parts[0] == "zh"]
asking = [str(page.relative_to(root)) for page in pages if _REQUEST.search(page.read_text(encoding="utf-8"))]
if asking:
    sys.exit("pages that ask other hosts: " + ", ".join(asking[:10]))
if len(chinese) * 2 != len(pages):
    sys.exit(f"{len(pages)} pages, of which {len(chinese)} are Chinese")
for page in ("reference", "zh/reference"):
    anchors = set(re.findall(r'<h3 id="([^"]+)"', (root / page / "index.html").read_text(encoding="utf-8")))
    if missing := {f"yolo_attn.{name}" for name in yolo_attn.__all__} - anchors:
        sys.exit(f"{page} lacks " + ", ".join(sorted(missing)))
found = json.loads((root / "search" / "search_index.json").read_text(encoding="utf-8"))
words = re.split(found["config"]["separator"], " ".join(entry["text"] for entry in found["docs"]))
if "权重" not in words:
    sys.exit("the search does not find Chinese words inside a sentence: see `separator` in mkdocs.yml, and jieba")
print(f"site: {len(pages) - len(chinese)} English and {len(chinese)} Chinese pages, no request to other hosts")
