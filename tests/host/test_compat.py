"""Temporary replacement of attributes of Ultralytics, and shims between releases."""

import os
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from yolo_attn.host.compat import grad_scaler, patched, quantization_bits, redirected, unwrapped
from yolo_attn.util.env import variables


class Owner:
    inherited = "class"


def test_what_was_replaced_comes_back_also_after_an_error():
    owner = SimpleNamespace(a=1)

    def fail_while_replaced():
        with patched(owner, a=2, new=3):
            assert (owner.a, owner.new) == (2, 3)
            raise KeyError

    with pytest.raises(KeyError):
        fail_while_replaced()
    assert vars(owner) == {"a": 1}


def test_an_inherited_attribute_is_inherited_again():
    owner = Owner()
    with patched(owner, inherited="mine"):
        assert owner.inherited == "mine"
    assert vars(owner) == {}
    assert owner.inherited == "class"


@pytest.mark.parametrize("first_out", ["outer", "inner"])
def test_overlapping_blocks_leave_the_original(first_out):
    owner = SimpleNamespace(a=0)
    outer, inner = patched(owner, a=1), patched(owner, a=2)
    outer.__enter__()
    inner.__enter__()
    assert owner.a == 2
    one, two = (outer, inner) if first_out == "outer" else (inner, outer)
    one.__exit__(None, None, None)
    assert owner.a == (2 if first_out == "outer" else 1)
    two.__exit__(None, None, None)
    assert owner.a == 0


def test_threads_that_replace_the_same_leave_the_original():
    owner = SimpleNamespace(a=0)
    barrier = threading.Barrier(4)

    def replace(value):
        barrier.wait()
        for _ in range(200):
            with patched(owner, a=value):
                pass

    threads = [threading.Thread(target=replace, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owner.a == 0


def test_a_redirected_function_is_replaced_in_this_thread_only():
    owner = SimpleNamespace(name=lambda: "original")
    seen = []
    with redirected(owner, name=lambda: "mine"):
        thread = threading.Thread(target=lambda: seen.append(owner.name()))
        thread.start()
        thread.join()
        with redirected(owner, name=lambda: "inner"):
            seen.append(owner.name())
        seen.append(owner.name())
    assert [*seen, owner.name()] == ["original", "inner", "mine", "original"]


def test_a_function_redirected_again_is_wrapped_once():
    owner = SimpleNamespace(name=lambda: "original")
    for _ in range(2):
        with redirected(owner, name=lambda: "mine"):
            wrapped = owner.name
    assert owner.name is wrapped


def test_a_redirected_command_has_other_words_in_this_thread_only():
    owner = SimpleNamespace(command=["python", "-m", "theirs"])
    seen = []
    with redirected(owner, command=["mine"]):
        thread = threading.Thread(target=lambda: seen.append([*owner.command, "train"]))
        thread.start()
        thread.join()
        seen.append([*owner.command, "train"])
    with redirected(owner, command=["again"]):
        seen.append([*owner.command])
    assert seen == [["python", "-m", "theirs", "train"], ["mine", "train"], ["again"]]
    assert [*owner.command] == owner.command == ["python", "-m", "theirs"]


def test_environment_variables_come_back(monkeypatch):
    monkeypatch.setenv("YOLO_ATTN_SET", "before")
    monkeypatch.delenv("YOLO_ATTN_UNSET", raising=False)

    def fail_while_set():
        with variables({"YOLO_ATTN_SET": "now", "YOLO_ATTN_UNSET": "now"}):
            assert (os.environ["YOLO_ATTN_SET"], os.environ["YOLO_ATTN_UNSET"]) == ("now", "now")
            raise KeyError

    with pytest.raises(KeyError):
        fail_while_set()
    assert os.environ["YOLO_ATTN_SET"] == "before"
    assert "YOLO_ATTN_UNSET" not in os.environ


@pytest.mark.parametrize(
    ("arguments", "bits"),
    [({"int8": True}, 8), ({"half": True}, 16), ({}, 32), ({"quantize": 16}, 16), ({"quantize": "w8a16"}, "w8a16")],
)
def test_precision_by_the_arguments_of_old_and_new_releases(arguments, bits):
    assert quantization_bits(SimpleNamespace(**arguments)) == bits


def test_a_wrapped_model_is_unwrapped():
    model = nn.Linear(2, 2)
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(model) is model


def test_a_disabled_scaler_leaves_the_loss():
    assert grad_scaler(enabled=False, initial_scale=128.0).scale(torch.tensor(2.0)) == 2.0
