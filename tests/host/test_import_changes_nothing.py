"""Whatever uses Ultralytics alone gives the same with ``import yolo_attn`` as without it, but for names that are added.

The statements are in ``tests/support/host_statements.py``; each list of them runs in a process of its own.
"""

import json
import os
import subprocess
import sys

import pytest
from support.paths import ROOT

import yolo_attn as ya
from yolo_attn.host.registry import CONTROLS

WRAPPED = {
    "ultralytics.engine.model.yaml_model_load", "ultralytics.nn.parse_model", "ultralytics.nn.yaml_model_load",
    "ultralytics.nn.tasks.parse_model", "ultralytics.nn.tasks.yaml_model_load", "ultralytics.nn.tasks.BaseModel.fuse",
    "ultralytics.nn.tasks.BaseModel.load", "ultralytics.nn.tasks.DetectionModel.__init__",
    "ultralytics.nn.tasks.ClassificationModel.__init__",
}  # fmt: skip
"""Functions of Ultralytics that are wrapped; what they do without attention is compared below."""

ROWS = {f"ultralytics.nn.tasks.yolo_attn.{name}" for name in (*ya.ATTENTION_BLOCKS, *CONTROLS, "Inside")}
"""Names that are added to Ultralytics' modules: one for each block and control."""

MODULES = {"packaging", "packaging.version"}
"""Modules outside this package that the import brings into a process that has Ultralytics."""


def outcomes(folder, orders, *options):
    """Run the statements without the import and with it, at once, each in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    running = {}
    for order in ("", *orders):
        scratch = folder / (order or "without")
        scratch.mkdir()
        words = [str(folder / f"{scratch.name}.json"), *([f"--import={order}"] if order else []), *options]
        command = [sys.executable, "-m", "support.host_statements", *words]
        errors = (folder / f"{scratch.name}.txt").open("w")
        running[order] = subprocess.Popen(command, cwd=scratch, env=environment, stdout=errors, stderr=errors)
    assert {order: process.wait() for order, process in running.items()} == dict.fromkeys(running, 0)
    return {order: json.loads((folder / f"{order or 'without'}.json").read_text()) for order in running}


def differences(before, after):
    """Return the statements whose outcome differs, with both."""
    assert list(before) == list(after)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def check(folder, *options, orders=("first", "last")):
    found_by = outcomes(folder, orders, *options)
    plain = found_by.pop("")
    assert len(plain) > 600
    assert len([name for name, found in plain.items() if "error" in found]) > 150
    for imported_too in found_by.values():
        found = differences(plain, imported_too)
        functions = found.pop("functions_of_the_host")
        without, imported = (side["value"] for side in functions)
        changed = {name for name in without.keys() | imported.keys() if without.get(name) != imported.get(name)}
        assert changed == WRAPPED | ROWS
        without, imported = (set(side["value"]) for side in found.pop("safe_globals"))
        assert without < imported
        assert {name.partition(".")[0] for name in imported - without} == {"yolo_attn"}
        without, imported = (set(side["value"]) for side in found.pop("modules", [{"value": []}] * 2))
        assert without <= imported
        assert imported - without <= MODULES
        assert found == {}, json.dumps(found, indent=1)[:5000]


@pytest.mark.slow
def test_the_import_changes_nothing_but_these_names(tmp_path):
    check(tmp_path, orders=["first"])


@pytest.mark.campaign
def test_every_stock_model_at_every_scale_is_the_same(tmp_path):
    check(tmp_path, "--all-models")
