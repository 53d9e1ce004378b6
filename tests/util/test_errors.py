"""Errors for the user that are still caught as the errors they replace."""

import pickle

import pytest
import torch

from yolo_attn.errors import YoloAttnError, like

REPLACED = [FileNotFoundError("a"), KeyError("a"), IndexError("a"), RuntimeError("a"), torch.OutOfMemoryError("a")]


@pytest.mark.parametrize("error", REPLACED, ids=lambda e: type(e).__name__)
def test_an_error_is_caught_as_the_one_it_replaces(error):
    made = like(error, "no  such\nmodel")
    assert isinstance(made, YoloAttnError)
    assert isinstance(made, type(error))
    assert str(made) == "no such model"
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is type(made)
    assert str(again) == "no such model"


@pytest.mark.parametrize("error", [ValueError("a"), Exception("a"), YoloAttnError("a")], ids=lambda e: type(e).__name__)
def test_an_error_that_is_one_already_needs_no_class_of_its_own(error):
    assert type(like(error, "b")) is YoloAttnError


def test_an_error_that_cannot_be_combined_stays_one_for_the_user():
    made = like(UnicodeDecodeError("utf-8", b"", 0, 1, "bad"), "not a YAML")
    assert type(made) is YoloAttnError
    assert str(made) == "not a YAML"
