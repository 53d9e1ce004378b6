"""The examples in the docstrings run."""

import doctest
import importlib
from pathlib import Path

import pytest
import ultralytics  # noqa: F401 - its first import may print, which no example is to show

import yolo_attn

PACKAGE = Path(yolo_attn.__file__).parent
FILES = [p for p in PACKAGE.rglob("*.py") if ">>>" in p.read_text()]
MODULES = sorted(".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts) for p in FILES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert result.failed == 0
