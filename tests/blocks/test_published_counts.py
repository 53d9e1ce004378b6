"""Printed parameter counts come out with the blocks at the published places."""

import pytest
from instruments.published.cases import CASES, SOURCES
from instruments.published.table import PAGE, as_markdown

from yolo_attn.blocks import ATTENTION_BLOCKS


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_published_number_comes_out_unless_a_reason_is_given(case):
    assert case.block.name in ATTENTION_BLOCKS
    assert case.source in SOURCES
    if case.differs:
        assert case.printed != case.figure, "it comes out: remove the reason"
    else:
        assert case.printed == case.figure


def test_nearly_all_numbers_come_out():
    assert [str(case) for case in CASES if case.differs] == ["SA-ResNet-50-300", "SK-ResNeXt-101-48.9M"]


def test_the_page_is_what_the_cases_say():
    assert PAGE.read_text() == as_markdown(), "run `python tools/update_generated.py`"
