"""Links, file names and commands in the README and the documentation exist in this repository."""

import re
import shlex
from pathlib import Path

import pytest
from support.paths import ROOT

from yolo_attn import cli
from yolo_attn.host import words as host_words

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "datasets").glob("README*.md")),
]
MEASURED = {"docs/results/robustness.md"}  # name the tests that were run then
HOST_WORDS = {"resume", "--json", "--no-check", *host_words.modes(), *host_words.special_commands()}
FOLDERS = ("yolo_attn", "tests", "tools", "cfg", "docs", ".ci")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings, and those that are written out."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    written = set(re.findall(r'<a id="([^"]+)">', text))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower().strip() for heading in headings]
    return written | {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def broken_links(page: Path) -> list[str]:
    text = without_code(page.read_text())
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"""src=["']([^"']+)""", text)
    broken = []
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def commands(text: str) -> list[list[str]]:
    """Return the words after ``yolo-attn`` of every command in a shell block."""
    blocks = re.findall(r"```(?:bash|sh)?\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    parts = [part.partition(" > ")[0].strip() for line in lines for part in line.split("&&")]
    return [shlex.split(part, comments=True)[1:] for part in parts if part.startswith("yolo-attn ")]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page):
    assert broken_links(page) == []


@pytest.mark.parametrize("page", [p for p in PAGES if name(p) not in MEASURED], ids=name)
def test_files_that_are_named_exist(page):
    named = re.findall(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\w", page.read_text())
    missing = {n for n in named if not (ROOT / n).exists() and "results/bench-gpu" not in n}
    assert missing == set()


def test_commands_are_accepted_by_the_parser():
    found = [(name(page), words) for page in PAGES for words in commands(page.read_text())]
    assert len(found) > 30
    refused = []
    for page, words in found:
        words, _ = cli.without_imports(words)
        if words[0] not in (*cli.VERBS, *cli.OWN_FLAGS):
            wrong = [w for w in words if not ("=" in w or w.isupper() or w in HOST_WORDS)]
        else:
            try:
                _, trailing = cli.own_parser().parse_known_args(words)
                wrong = [w for w in trailing if not re.match(r"\w+=", w)]
            except ValueError as error:
                wrong = [str(error)]
        refused += [f"{page}: {' '.join(words)}: {', '.join(wrong)}"] * bool(wrong)
    assert refused == []


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A heading\n[a](none.md) [b](#a-heading) [c](#other) [d](https://example.com) `[e](none)`\n")
    assert broken_links(page) == ["none.md", "#other"]
