"""Without a network every command succeeds, or names the missing file in a one-line error, within seconds."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from robustness.at_once import CAMPAIGN, TESTS
from robustness.offline import COMMANDS

SECONDS = 180  # each takes a few on an idle machine


def can_cut():
    return (
        bool(shutil.which("unshare")) and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
    )


@pytest.fixture(scope="module")
def folder(scenes, base_weights, tiny_models, tmp_path_factory):
    root = tmp_path_factory.mktemp("offline")
    shutil.copytree(scenes.parents[1] / "coco", root / "coco")
    shutil.copy(scenes, root / "data.yaml")
    shutil.copy(base_weights, root / "base.pt")
    shutil.copy(next((scenes.parent / "images" / "val").iterdir()), root / "image.jpg")
    for file in tiny_models:
        shutil.copy(file, root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("how", ["no interface", "blocked sockets"])
def test_every_command_without_a_network(how, folder, record_property):
    if how == "no interface" and not can_cut():
        pytest.skip("`unshare -n` is not allowed here: no network namespace can be made")
    paths = [str(CAMPAIGN), str(TESTS), str(TESTS.parent)]
    environment = {k: v for k, v in os.environ.items() if k != "YOLO_OFFLINE"}
    command = [sys.executable, "-m", "robustness.offline", str(folder)]
    command = ["unshare", "-n", *command] if how == "no interface" else [*command, "--block"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**environment, "PYTHONPATH": os.pathsep.join(paths)}
    )
    found = {line["command"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(found) == set(COMMANDS), done.stderr[-3000:]
    for words, says in COMMANDS.items():
        ended = found[words]
        assert ended["code"] == (2 if says else 0), (words, ended)
        assert len(ended["said"]) == bool(says), (words, ended)
        assert all(says in line for line in ended["said"]), (words, ended)
        assert ended["seconds"] < SECONDS, (words, ended)
    record_property("faults", len(COMMANDS))
