"""Several threads at once: each has its own restrictions and replacements, and all have the same classes."""

import importlib.util
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from support import tiny_model
from support.paths import ROOT
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host import gated, registry
from yolo_attn.host.compat import TASKS
from yolo_attn.host.derived_class import made_once
from yolo_attn.host.safe_load import loads_are_restricted, restricted_loads


class Stranger(nn.Module):
    pass


def in_threads(function, number=8):
    """Call a function in threads that start together, and return what each returned, or its error."""
    together, found = threading.Barrier(number), []

    def call():
        together.wait()
        try:
            found.append(function())
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=call) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.fixture
def strange(tmp_path):
    file = tmp_path / "strange.pt"
    held = torch.load(tiny_model.checkpoint(tmp_path), weights_only=False)
    torch.save({**held, "extra": Stranger()}, file)
    return str(file)


def test_a_restricted_load_restricts_no_other_thread(strange):
    with restricted_loads() as able:
        if not able:
            pytest.skip("this Ultralytics or torch has no restricted loading")
        assert loads_are_restricted()
        with pytest.raises(TypeError, match="outside the supported"):
            YOLO(strange)
        assert in_threads(lambda: (loads_are_restricted(), type(YOLO(strange)).__name__), 2) == [(False, "YOLO")] * 2
        assert tasks.SAFE_LOAD is False
    assert not loads_are_restricted()
    assert type(YOLO(strange)).__name__ == "YOLO"


def test_a_restriction_ends_after_an_error(strange):
    def fails():
        with restricted_loads():
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not loads_are_restricted()
    assert type(YOLO(strange)).__name__ == "YOLO"


def test_a_class_is_made_once():
    inside = threading.Barrier(8)

    @made_once
    def slow(host):
        inside.wait(timeout=10)  # every thread has found nothing, and makes a class
        return type("Made", (host,), {})

    made = in_threads(lambda: slow(dict))
    assert len(set(made)) == 1
    assert isinstance(made[0], type)
    assert slow(dict) is made[0]


def test_gated_classes_are_made_so():
    class Host(nn.Identity):
        __module__ = "ultralytics.nn.modules.conv"

    assert len(set(in_threads(lambda: gated.gated_class(Host)))) == 1


def test_the_blocks_are_complete_for_every_thread(monkeypatch):
    for name in ("_blocks", "_controls"):
        monkeypatch.setattr(registry, name, {})
    monkeypatch.setattr(registry, "_complete", threading.Event())
    monkeypatch.setattr(registry, "_when_loaded", [lambda: [registry.add_control(type(n, (), {})) for n in ("A", "B")]])
    expected = [*ya.ATTENTION_BLOCKS, "A", "B"]
    assert in_threads(lambda: list(registry.row_blocks())) == [expected] * 8


def test_blocks_that_are_all_unregistered_stay_so(monkeypatch):
    monkeypatch.setattr(registry, "_blocks", dict(registry.row_blocks()))
    registry._blocks.clear()
    assert registry.registered() == {}
    assert registry.names() == []


@pytest.mark.slow
def test_asking_where_the_hosts_module_is_does_not_use_up_the_hook():
    code = f"import importlib.util as u, yolo_attn; u.find_spec({TASKS!r})"
    code += "; from ultralytics import YOLO; YOLO('yolo11n-ela.yaml')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert importlib.util.find_spec(TASKS).origin.endswith("tasks.py")


@pytest.mark.slow
def test_eight_threads_open_predict_and_train_from_the_first_use_on(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}

    def python(*words):
        command = [sys.executable, "-m", "support.threads_at_once", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    python("make")
    assert python("run", "1") == {"failed": [], "changed": [], "predictions": 64, "trainings": 2}
