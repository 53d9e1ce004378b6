"""Rows of public model YAMLs mean what their authors meant, at every scale."""

import re
from pathlib import Path

import pytest
from instruments.public_rows import CASES, SCALES, check

import yolo_attn as ya


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.args}")
@pytest.mark.filterwarnings("ignore:.*the largest that fits:UserWarning")
def test_no_row_is_misread(case):
    assert {check(case, scale) for scale in SCALES} == {"refused" if case.error else "as meant"}


def test_the_documented_orders_are_those_of_the_blocks():
    text = (Path(__file__).parents[2] / "docs" / "insert.md").read_text(encoding="utf-8")
    found = {}
    for names, order in re.findall(
        r"^\| (`\w+`(?:, `\w+`)*) \| (`\w+`.*) \|$", text.partition("order in public classes")[2], re.M
    ):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), set(re.findall(r"`(\w+)`", order)))
    public = {name: order for cls in ya.ATTENTION_BLOCKS.values() for name, order in cls.public.items()}
    assert found == {name: {argument.partition("=")[0] for argument in order} for name, order in public.items()}
