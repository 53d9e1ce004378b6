"""Hyper-parameters are checked against a constructor's own signature and annotations."""

from typing import Any, Literal

import pytest

from yolo_attn.errors import YoloAttnError, one_of
from yolo_attn.host.hyper import bind, hyper_parameters
from yolo_attn.util.words import literal


class Block:
    def __init__(
        self, channels: int, a: int = 1, b: float = 0.5, c: bool = False, d: str = "x", e: int | None = None,
        f: Literal["one", 2] = "one", g: Any = None, h=None, *, i: bool = True,
    ):  # fmt: skip
        pass


class Loose:
    def __init__(self, channels, *args, **kwargs):
        pass


@pytest.mark.parametrize(
    ("args", "kwargs", "bound"),
    [
        ([], {}, {}),
        ([3], {}, {"a": 3}),
        ([3, 1], {}, {"a": 3, "b": 1}),
        ([{"a": 3}], {"b": 2.5}, {"a": 3, "b": 2.5}),
        (["3", "None"], {"e": "None"}, None),
        ([], {"e": "None", "c": "True"}, {"e": None, "c": True}),
        ([], {"f": 2, "g": object, "h": "anything", "i": False}, {"f": 2, "g": object, "h": "anything", "i": False}),
    ],
)
def test_binding(args, kwargs, bound):
    if bound is None:
        with pytest.raises(YoloAttnError, match="b=None is not a number"):
            bind(Block, args, kwargs)
    else:
        assert bind(Block, args, kwargs) == bound


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"a": 1.0}, "a=1.0 is not an integer"),
        ({"a": True}, "a=True is not an integer"),
        ({"b": "big"}, "b='big' is not a number"),
        ({"b": True}, "b=True is not a number"),
        ({"c": 1}, "c=1 is not true or false"),
        ({"d": 5}, "d=5 is not a word"),
        ({"e": "some"}, "e='some' is not an integer or None"),
        ({"f": "two"}, "f='two' is not one of 'one', 2"),
        ({"f": 2.0}, "f=2.0 is not one of"),
        ({"channels": 3}, "unknown hyper-parameter 'channels'"),
        ({"A": 3}, "Did you mean 'a'"),
    ],
)
def test_wrong_values(kwargs, says):
    with pytest.raises(YoloAttnError, match=says):
        bind(Block, (), kwargs)


def test_too_many_values_and_twice():
    with pytest.raises(YoloAttnError, match="at most 8 values"):
        bind(Block, range(9))
    with pytest.raises(YoloAttnError, match="a twice: 1 and 2"):
        bind(Block, [1], {"a": 2})


def test_a_block_that_takes_anything_gets_anything():
    assert bind(Loose, (), {"z": 3}) == {"z": 3}


def test_a_constructor_without_channels():
    with pytest.raises(YoloAttnError, match="channels first"):
        hyper_parameters(type("Nothing", (), {}))


@pytest.mark.parametrize(
    ("text", "value"), [("None", None), ("0.5", 0.5), ("add+mul", "add+mul"), ("4x-", "4x-"), (7, 7)]
)
def test_literals(text, value):
    assert literal(text) == value


def test_nearest_match_ignores_case_and_stays_silent_when_nothing_is_near():
    assert "Did you mean 'ELA'" in one_of("block", "ela", ["SE", "ELA"])
    assert "Did you mean" not in one_of("block", "zzzz", ["SE", "ELA"])
    assert "Did you mean 'CoordAtt'" in one_of("block", "CoordAt", ["CA"], also=["CoordAtt"])
