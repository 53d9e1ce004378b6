"""The tests' own structure: no test imports another, every folder is named after what it tests."""

import ast

from support.paths import ROOT, TESTS

BESIDE_PACKAGES = {"campaign", "fixtures", "fused", "instruments", "project", "support"}
MODULES = sorted(TESTS.rglob("*.py"))


def imported(source):
    """Names of the modules that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def is_test(module):
    return any(part.startswith("test_") or part == "conftest" for part in module.split("."))


def test_imports_of_tests_are_recognised():
    source = (
        "import os, blocks.test_a\nfrom test_b import c\nfrom conftest import d\nfrom support.tiers import sampled\n"
    )
    assert [name for name in imported(source) if is_test(name)] == ["blocks.test_a", "test_b", "conftest"]


def test_no_test_imports_another():
    found = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path in MODULES
        for name in imported(path.read_text(encoding="utf-8"))
        if is_test(name)
    ]
    assert found == []


def test_every_folder_is_named_after_a_package():
    packages = {path.stem for path in (ROOT / "yolo_attn").iterdir() if path.is_dir() or path.suffix == ".py"}
    folders = {path.relative_to(TESTS).parts[0] for path in MODULES if len(path.relative_to(TESTS).parts) > 1}
    assert {"blocks", "support"} < folders
    assert folders - packages - BESIDE_PACKAGES == set()
    assert [path.name for path in TESTS.glob("test_*.py")] == []


def test_no_two_test_modules_share_a_name():
    names = [path.name for path in MODULES if path.name.startswith("test_")]
    assert len(names) == len(set(names))
