"""The reference page has every public name of the package, in both languages."""

import functools
import importlib
import re

import pytest
from support.paths import ROOT

import yolo_attn as ya

PAGES = ("docs/reference.md", "docs/reference.zh.md")


def entries(page):
    return re.findall(r"^::: (\S+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)


def resolve(path):
    """Import the module of a dotted path, and return what the rest of the path names in it."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[end:], module)
    raise AssertionError(path)


@pytest.mark.parametrize("page", PAGES)
def test_every_public_name_is_on_the_page_once(page):
    listed = entries(page)
    assert {f"yolo_attn.{name}" for name in ya.__all__} <= set(listed)
    assert len(listed) == len(set(listed))


def test_both_languages_have_the_same_entries():
    assert entries(PAGES[0]) == entries(PAGES[1])


@pytest.mark.parametrize("path", entries(PAGES[0]))
def test_every_entry_exists_and_says_what_it_is(path):
    found = resolve(path)
    assert isinstance(found, dict) or found.__doc__.strip()
