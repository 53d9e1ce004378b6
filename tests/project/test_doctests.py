"""The examples in the docstrings run."""

import doctest
import importlib
from pathlib import Path

import pytest

import yolo_attn

MODULES = sorted(p.stem for p in Path(yolo_attn.__file__).parent.glob("*.py") if ">>>" in p.read_text())


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch):
    result = doctest.testmod(importlib.import_module(f"yolo_attn.{name}"))
    assert result.attempted
    assert result.failed == 0
