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
    rows = re.findall(r"^\| (`.*`) \| (`\w+`.*) \|$", text.partition("order in public classes")[2], re.M)
    words = [[re.findall(r"`(\w+)`", cell) for cell in row] for row in rows]
    found = {name: set(order) for names, order in words for name in names}
    public = {name: order for cls in ya.ATTENTION_BLOCKS.values() for name, order in cls.public.items()}
    assert found == {name: {argument.partition("=")[0] for argument in order} for name, order in public.items()}
