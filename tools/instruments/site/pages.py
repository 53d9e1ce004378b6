"""Make a page of the site for each block, in English and Chinese, from its stored facts and measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from latex2mathml.converter import convert

from instruments.site.drawing import drawing
from yolo_attn.models.block_table import CHANNELS, describe_blocks

LANGUAGES = ("en", "zh")
TEXTS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "texts.yml").read_text(encoding="utf-8"))
BLOCKS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "blocks.yml").read_text(encoding="utf-8"))


def block_pages() -> Iterator[tuple[str, str]]:
    """Yield path and text of the page of every block in every language."""
    for block in describe_blocks():
        for language in LANGUAGES:
            suffix = "" if language == "en" else f".{language}"
            yield f"blocks/{block['name']}{suffix}.md", page(block, language)


def page(block: dict[str, Any], language: str) -> str:
    """Return the page of a block.

    Args:
        block: Stored facts.
        language: ``en`` or ``zh``.
    """
    words, more = TEXTS[language], BLOCKS[block["name"]]
    ready = words["ready"].format(name=block["name"], low=block["name"].lower())
    parts = [
        f"# {block['name']}",
        more[language],
        f"## {words['equation']}\n\n{formula(more['equation'])}\n\n{more.get('where', {}).get(language, '')}".rstrip(),
        drawing(block["map"], words),
        f"## {words['rows']}\n\n{ready}\n\n{_row(block, more)}",
        f"## {words['constructor']}\n\n{_constructor(block, words)}",
        f"## {words['cost']}\n\n{_cost(block, words)}",
        f"## {words['start']}\n\n`init=identity`{words['colon']}{more['start'][language]}",
        f"## {words['copies']}\n\n{more['copies'][language]}" if more.get("copies") else "",
        f"## {words['citation']}\n\n[{block['paper']}]({block['link']})\n\n{_bibtex(block, more['cite'])}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def formula(latex: str) -> str:
    """Return an equation as MathML, which browsers draw without a script."""
    lines = [convert(line.strip(), display="block") for line in latex.strip().splitlines()]
    return "\n".join(f'<div class="equation">{line}</div>' for line in lines)


def _row(block: dict[str, Any], more: dict[str, Any]) -> str:
    rows = [f"- [-1, 1, {row}]" for row in (f"{block['name']}, []", *more.get("options", ()))]
    return "```yaml\n" + "\n".join(rows) + "\n```"


def _constructor(block: dict[str, Any], words: dict[str, Any]) -> str:
    given = ", ".join(word for word in ("channels", block["hyper_parameters"]) if word)
    aliases = ", ".join(f"`{name}`" for name in block["aliases"])
    return f"```python\n{block['name']}({given})\n```" + (f"\n\n{words['aliases']}: {aliases}" if aliases else "")


def _cost(block: dict[str, Any], words: dict[str, Any]) -> str:
    cost, public = block["cost"], block["public_yamls"]
    rows = [(words["parameters"].format(channels=CHANNELS), f"{block['parameters']:,}")]
    rows += [(words[key], f"{cost[key]:.3g}") for key in ("forward", "training") if cost]
    rows += [(words["gain"], f"{block['gain']:.2f}")] if block["gain"] is not None else []
    rows += [(words["public"], f"{public['repositories']} / {public['yamls']}{public['note']}")] if public else []
    lines = [words["columns"], "| --- | ---: |", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines) + (f"\n\n{words['measured']}: {cost['where']}." if cost else "")


def _bibtex(block: dict[str, Any], cite: dict[str, Any]) -> str:
    key = cite["authors"].split(",")[0].replace(" ", "").lower() + str(cite["year"]) + block["name"].lower()
    title = f"{{{block['paper']}}}"
    fields = {"title": title, "author": cite["authors"], "booktitle": cite["venue"], "year": cite["year"]}
    lines = [f"  {name} = {{{value}}}," for name, value in {**fields, "url": block["link"]}.items()]
    return "\n".join(["```bibtex", f"@inproceedings{{{key},", *lines, "}", "```"])
