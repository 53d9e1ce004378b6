"""The table of the blocks: every fact is there, and what can be computed again is as stored."""

import json

import pytest
import torch
from instruments import block_measurements
from instruments.generated import replace_tables
from support.markdown import table_rows
from support.paths import ROOT
from torch import nn

import yolo_attn as ya
from yolo_attn.blocks import ATTENTION_BLOCKS
from yolo_attn.models import block_table

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*the largest that fits:UserWarning"),
]
FACTS = {block["name"]: block for block in block_table.describe_blocks()}
MEASURED = json.loads(block_table.MEASURED.read_text(encoding="utf-8"))
AGAIN = "run `python tools/measure_table.py` and `python tools/update_generated.py`"


class Times(nn.Module):
    """A block that multiplies by a number."""

    def __init__(self, channels: int, factor: float = 0.5):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@pytest.mark.parametrize("name", ATTENTION_BLOCKS)
def test_a_block_has_every_fact(name):
    facts = FACTS[name]
    absent = [word for word in ("paper", "link", "year", "map", "identity", "hyper_parameters") if not facts[word]]
    absent += [word for word in ("cost", "gain", "beyond_tolerance") if facts[word] is None]
    assert not absent, AGAIN
    assert 2015 < facts["year"] < 2030
    assert facts["parameters"] == sum(p.numel() for p in ATTENTION_BLOCKS[name](256).parameters())


def test_a_row_of_the_documentation_has_the_facts_of_its_block():
    page = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")
    head, *rows = table_rows(page[page.index("| block | year |") :].split("\n\n")[0])
    assert [row[0] for row in rows] == [f"[`{name}`]({ATTENTION_BLOCKS[name].paper.link})" for name in FACTS]
    counts = [int(row[head.index("parameters, C=256")].replace(",", "")) for row in rows]
    assert counts == [sum(p.numel() for p in cls(256).parameters()) for cls in ATTENTION_BLOCKS.values()]
    assert {len(row) for row in rows} == {len(head)}


@pytest.mark.parametrize("name", ATTENTION_BLOCKS)
def test_the_stored_gain_is_that_of_a_new_block(name):
    assert block_measurements.gain(ATTENTION_BLOCKS[name]) == pytest.approx(MEASURED["gain"][name], abs=0.02), AGAIN


def test_the_gain_is_the_part_of_the_features_that_passes():
    assert block_measurements.gain(nn.Identity) == 1
    assert block_measurements.gain(Times) == pytest.approx(0.5)
    assert block_measurements.gain(lambda channels: Times(channels, -2.0)) == pytest.approx(-2)
    assert block_measurements.gain(lambda channels: ATTENTION_BLOCKS["SimAM"](channels, init="identity")) == 1


def test_a_gain_leaves_the_random_numbers_as_they_are():
    before = torch.random.get_rng_state()
    block_measurements.gain(ATTENTION_BLOCKS["SE"])
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_cost_is_beside_se_and_says_where():
    assert MEASURED["cost"]["beside_SE"]["SE"] == {"forward": 1, "training": 1}
    assert all(value > 0 for block in MEASURED["cost"]["beside_SE"].values() for value in block.values())
    assert "torch" in MEASURED["cost"]["where"]
    assert MEASURED["cost"]["where"] in block_table.as_markdown()


def test_what_exports_is_read_from_the_stored_lines():
    assert MEASURED["beyond_tolerance"] == block_measurements.exports(), AGAIN


def test_of_a_users_block_nothing_was_measured():
    ya.register(Times)
    try:
        own = block_table.describe_blocks()[-1]
        row = next(line for line in block_table.as_markdown().splitlines() if "`Times`" in line)
    finally:
        ya.unregister("Times")
    assert {own[word] for word in ("cost", "gain", "beyond_tolerance", "public_yamls", "year")} == {None}
    assert row == "| `Times` |  |  | 0 |  |  |  |  |  |  |"


def test_a_cell_beyond_its_tolerance_is_named():
    beyond = {"onnx": ["free sizes"], "openvino": ["free sizes"], "ncnn": ["fp16"]}
    assert block_table._exports(beyond) == "all but free sizes of onnx, openvino; fp16 of ncnn"
    assert block_table._exports({"onnx": [], "ncnn": []}) == "all"


def test_tables_are_replaced_where_their_heads_are(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nold\n\n| c |\n| --- |\n| 3 |\n\nAfter.\n")
    new = "| a | b |\n| --- | --- |\n| 4 | 5 |\n| 6 | 7 |\n\nnew\n\n| c |\n| --- |"
    assert replace_tables(page, new).read_text() == f"Before.\n\n{new}\n\nAfter.\n"
    with pytest.raises(ValueError, match="0 times"):
        replace_tables(page, "| d |\n| --- |")
