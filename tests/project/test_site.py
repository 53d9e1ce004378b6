"""The Chinese pages say to run what the English ones say, and every block has its texts in both languages."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from instruments.site import tables
from instruments.site.text import joined
from support.paths import ROOT

from yolo_attn.models.block_table import describe_blocks

TRANSLATED = [
    (ROOT / "README.md", ROOT / "README.zh-CN.md"),
    *((page.with_name(page.name.replace(".zh.md", ".md")), page) for page in sorted(ROOT.glob("docs/**/*.zh.md"))),
    *((page.with_name("README.md"), page) for page in ROOT.glob("datasets/README.zh.md")),
]
TEXTS = ROOT / "tools" / "instruments" / "site"


def without_code_and_links(page: Path) -> str:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)|<[^>]*>", " ", text)


def figures(text: str) -> list[str]:
    return sorted(re.findall(r"(?<![\w.])\d+(?:[.,]\d+)*(?:e[-+]?\d+)?", text))


def commands(page: Path) -> list[str]:
    """Return the lines of code of a page, without comments; output is code, but in the README."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    code = [text for language, text in blocks if language or page.parent != ROOT]
    lines = [re.sub(r"\s+#.*$", "", line).rstrip() for text in code for line in text.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED, ids=lambda page: page.name)
def test_the_chinese_page_has_the_code_of_the_english_one(english, chinese):
    assert commands(chinese) == commands(english)


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED, ids=lambda page: page.name)
def test_the_chinese_page_has_the_figures_of_the_english_one(english, chinese):
    missing = set(figures(without_code_and_links(english))) - set(figures(without_code_and_links(chinese)))
    assert missing == set()


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED, ids=lambda page: page.name)
def test_a_row_of_a_chinese_table_has_the_figures_of_the_english_one(english, chinese):
    rows = [re.findall(r"^\|.*\|$", without_code_and_links(page), re.MULTILINE) for page in (english, chinese)]
    assert [figures(row) for row in rows[1]] == [figures(row) for row in rows[0]]


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED, ids=lambda page: page.name)
def test_the_chinese_page_has_the_sections_of_the_english_one(english, chinese):
    levels = [re.findall(r"^(#+) ", without_code_and_links(page), re.MULTILINE) for page in (english, chinese)]
    assert levels[0] == levels[1]


def test_every_block_has_its_texts_in_both_languages():
    texts = yaml.safe_load((TEXTS / "blocks.yml").read_text(encoding="utf-8"))
    assert list(texts) == [block["name"] for block in describe_blocks()]
    for name, text in texts.items():
        assert {"en", "zh", "equation", "start", "cite"} <= set(text), name
        assert all(set(text[key]) == {"en", "zh"} for key in ("where", "start", "copies") if key in text), name


def test_words_of_the_pages_are_the_same_in_both_languages():
    texts = yaml.safe_load((TEXTS / "texts.yml").read_text(encoding="utf-8"))
    assert set(texts["en"]) == set(texts["zh"])
    assert set(texts["en"]["kinds"]) == set(texts["zh"]["kinds"])
    shapes = {shape for block in describe_blocks() for shape in re.findall(r"\(.*?\)", block["map"])}
    assert shapes <= set(texts["en"]["kinds"])


def test_no_word_has_two_translations():
    words = (TEXTS / "tables.zh.yml").read_text(encoding="utf-8").splitlines()
    assert len(tables.WORDS) == sum(bool(line) and not line.startswith("#") for line in words)


def test_the_chinese_readme_links_chinese_pages():
    links = re.findall(r"\]\((\w[\w/-]*)\.md", (ROOT / "README.zh-CN.md").read_text(encoding="utf-8"))
    assert [link for link in links if link != "README" and (ROOT / f"{link}.zh.md").is_file()] == []


def test_rows_on_the_pages_build(tmp_path):
    """Every row that a page shows is one that the parser takes."""
    import torch

    from yolo_attn.host.registry import create_attention

    texts = yaml.safe_load((TEXTS / "blocks.yml").read_text(encoding="utf-8"))
    for name, text in texts.items():
        for option in text.get("options", ()):
            block, values = re.fullmatch(r"(\w+), \[(\{.*\})\]", option).groups()
            assert block == name
            made = create_attention(block, 64, **yaml.safe_load(values))
            assert made(torch.rand(1, 64, 8, 8)).shape == (1, 64, 8, 8)


@pytest.mark.parametrize(("english", "chinese"), TRANSLATED, ids=lambda page: page.name)
def test_marked_tables_of_the_chinese_page_are_those_of_the_english_one(english, chinese):
    """``python tools/update_generated.py`` writes them."""
    text = chinese.read_text(encoding="utf-8")
    assert tables.with_tables(text, english.read_text(encoding="utf-8")) == text


def test_a_table_is_translated_with_its_figures():
    english = "a\n\n| seeds | ours |\n| --- | ---: |\n| 2 | 94.1 |\n\nb\n\n| `seeds` |\n| ---: |\n| 3 |\n"
    first = "甲\n\n<!-- table 1 -->\n| 种子 | 本项目 |\n| --- | ---: |\n| 2 | 94.1 |\n\n乙\n"
    assert tables.with_tables("甲\n\n<!-- table 1 -->\n| old |\n\n乙\n", english) == first
    assert tables.with_tables("<!-- table 2 -->\n", english) == "<!-- table 2 -->\n| `seeds` |\n| ---: |\n| 3 |\n"
    with pytest.raises(ValueError, match="there is no table 3: the English page has 2"):
        tables.with_tables("<!-- table 3 -->\n", english)
    assert tables.translated("[Seeds](https://a.org/seeds) of 2 seeds") == "[Seeds](https://a.org/seeds) of 2 种子"
    with pytest.raises(ValueError, match="no Chinese for 'bananas' in '5 bananas'"):
        tables.translated("5 bananas")


@pytest.mark.parametrize(("name", "marked"), [("blocks", 2), ("export", 3)])
def test_tables_with_a_row_for_each_block_are_generated(name, marked):
    text = (ROOT / "docs" / f"{name}.zh.md").read_text(encoding="utf-8")
    generated = re.findall(r"^<!-- table \d+ -->\n\| 模块 \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    assert len(generated) == marked
    plain = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", "", "".join(generated))
    assert not re.findall(r"\b(?:all|but|of|and|for|the|with)\b", plain)


def test_lines_of_chinese_are_joined_but_not_code_and_rows():
    page = "注意力\n模块，\n门控 A\nB\n\n- 一\n  二\n- 三\n\n```\n甲\n乙\n```\n丙\n丁\n"
    assert joined(page) == "注意力模块，门控 A\nB\n\n- 一二\n- 三\n\n```\n甲\n乙\n```\n丙丁\n"


def test_the_menu_lists_every_block_once_by_name():
    pytest.importorskip("latex2mathml")
    from instruments.site import hooks

    config = SimpleNamespace(docs_dir=ROOT / "docs", nav=[{"Blocks": ["blocks.md", "copies.md"]}])
    for _ in ("en", "zh"):
        hooks.on_config(config)
    listed = config.nav[0]["Blocks"]
    names = sorted((block["name"] for block in describe_blocks()), key=str.lower)
    assert listed == ["blocks.md", "copies.md", *(f"blocks/{name}.md" for name in names)]
