"""Each copy differs from the block in the stated way, and in no other where an option has its form."""

import json
import shutil

import pytest
import torch
from instruments.copies.command import PAGE, RAW, option_of, write_page
from instruments.copies.forms import COPIES
from instruments.copies.measure import CHANNELS, replace_blocks
from support.block_cases import ADAPTED, rand
from support.equations import randomized
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from yolo_attn.blocks import ATTENTION_BLOCKS

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings(ADAPTED)]

BY_NAME = {copy.name: copy for copy in COPIES}
REPRODUCED = [copy for copy in COPIES if copy.option is not None]


def made(name, channels=32):
    """Return a copy with random weights, in double precision."""
    return randomized(BY_NAME[name].make(channels).double()).eval()


def ours(name, channels=32, **hyper):
    return ATTENTION_BLOCKS[name](channels, **hyper).double().eval()


def load_in_order(block, copy):
    """Load weights as the page says: parameters and buffers, in order."""
    vector_to_parameters(parameters_to_vector(copy.parameters()), block.parameters())
    for own, other in zip(block.buffers(), copy.buffers(), strict=True):
        own.copy_(other)
    return block


@pytest.mark.parametrize("copy", REPRODUCED, ids=lambda copy: copy.name)
def test_the_option_computes_what_the_copy_computes_with_its_weights(copy):
    theirs, x = made(copy.name), rand(2, 32, 9, 7, dtype=torch.float64)
    block = load_in_order(ours(copy.block, **copy.option), theirs)
    assert sum(p.numel() for p in block.parameters()) == sum(p.numel() for p in theirs.parameters())
    for train in (False, True):
        torch.testing.assert_close(block.train(train)(x), theirs.train(train)(x), msg=f"train={train}")


def test_the_copies_that_no_option_reproduces_are_those_the_page_names():
    assert {copy.name for copy in COPIES if copy.option is None} == {
        "MLCA, mixes images",
        "CBAM, no norm",
        "CBAM, Ultralytics'",
    }


@pytest.mark.parametrize("copy", [c for c in REPRODUCED if c.option], ids=lambda copy: copy.name)
def test_by_default_a_block_is_not_the_copy(copy):
    plain, changed = ours(copy.block), ours(copy.block, **copy.option)
    same = [p.shape for p in plain.parameters()] == [p.shape for p in changed.parameters()]
    if same:
        load_in_order(changed, randomized(plain))
        x = rand(2, 32, 9, 7, dtype=torch.float64)
        assert not torch.allclose(plain(x), changed(x))


def test_mlca_mixes_the_images_of_a_batch_and_ours_does_not():
    copy = made("MLCA, mixes images")
    block = ours("MLCA")
    block.load_state_dict({"local_conv.weight": copy.conv_local.weight, "global_conv.weight": copy.conv.weight})
    x, other = (rand(2, 32, 9, 7, seed=seed, dtype=torch.float64) for seed in (1, 2))
    changed = torch.cat((x[:1], other[1:]))
    assert not torch.allclose(copy(x)[0], copy(changed)[0])
    torch.testing.assert_close(block(x)[0], block(changed)[0])
    torch.testing.assert_close(copy(x[:1]), block(x[:1]))  # alone, an image gets the same


def test_caa_is_the_gate_and_ours_its_product_with_the_input():
    copy, x = made("CAA, the gate alone"), rand(2, 32, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(x * copy(x), load_in_order(ours("CAA"), copy)(x))


def test_ela_is_dense_and_each_gate_depends_on_all_channels():
    copy = made("ELA, dense, with a bias", 64)
    assert sum(p.numel() for p in copy.parameters()) == 7 * 64 * 64 + 64 + 2 * 64
    assert sum(p.numel() for p in ours("ELA", 64).parameters()) == 7 * 64 + 2 * 64
    for block, dependent in ((copy, 64), (randomized(ours("ELA", 64)), 4)):  # 16 groups of 4 in the GroupNorm
        x = rand(1, 64, 9, 7, dtype=torch.float64).requires_grad_()
        (gradient,) = torch.autograd.grad(block(x)[0, 0].sum(), x)
        assert (gradient.abs().amax((0, 2, 3)) > 0).sum() == dependent


def test_gam_without_its_first_sigmoid_changes_signs():
    x = rand(2, 32, 9, 7, dtype=torch.float64).abs()
    assert made("GAM, one sigmoid")(x).min() < 0
    assert randomized(ours("GAM"))(x).min() > 0


def test_the_shuffled_gate_of_gam_belongs_to_other_channels():
    copy, x = made("GAM, one sigmoid, shuffled gate"), rand(2, 32, 9, 7, dtype=torch.float64)
    block = load_in_order(ours("GAM", channel_sigmoid=False, groups=4, shuffle="gate"), copy)
    shuffled = block.attention(x)[1]
    block.shuffle = "neither"
    assert torch.equal(shuffled, nn.functional.channel_shuffle(block.attention(x)[1], 4))


@pytest.mark.parametrize("name", ["SA, 8 groups, view", "SGE, view, shift 0"])
def test_views_fail_on_channels_last_maps_and_ours_takes_them(name):
    copy, x = made(name), rand(2, 32, 9, 7, dtype=torch.float64).to(memory_format=torch.channels_last)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        copy(x)
    block = load_in_order(ours(BY_NAME[name].block, **BY_NAME[name].option), copy)
    torch.testing.assert_close(block(x), copy(x.contiguous()))


def test_eca_of_the_copies_has_one_kernel_size_at_every_width():
    assert [BY_NAME["ECA, kernel 3, bias"].make(c).conv.kernel_size[0] for c in (64, 128, 1024)] == [3, 3, 3]
    assert [ours("ECA", c).kernel_size for c in (64, 128, 1024)] == [3, 5, 5]


def test_sge_starts_at_a_half_and_ours_as_its_authors_at_the_sigmoid_of_one():
    x = rand(2, 32, 9, 7)
    torch.testing.assert_close(BY_NAME["SGE, view, shift 0"].make(32)(x), x / 2)
    torch.testing.assert_close(ATTENTION_BLOCKS["SGE"](32)(x), x * torch.ones(()).sigmoid())


def test_the_cbam_of_ultralytics_has_no_hidden_layer_no_maximum_over_positions_and_no_norm():
    copy, c = made("CBAM, Ultralytics'"), 32
    assert [tuple(p.shape) for p in copy.parameters()] == [(c, c, 1, 1), (c,), (1, 2, 7, 7)]
    assert not [m for m in copy.modules() if isinstance(m, nn.BatchNorm2d)]
    x = rand(1, c, 8, 8, dtype=torch.float64)
    spread = torch.cat((x[:, :, :4] + 3, x[:, :, 4:] - 3), 2)  # equal means, other maxima
    torch.testing.assert_close(*(copy.channel_attention(one) / one for one in (x, spread)))
    block = randomized(ours("CBAM", c))
    assert not torch.allclose(*(block.attention(one)[0] for one in (x, spread)))


def test_a_copy_takes_the_place_of_every_block_and_of_its_row():
    model = nn.Sequential(nn.Identity(), ATTENTION_BLOCKS["CAA"](16), nn.Sequential(ATTENTION_BLOCKS["CAA"](32)))
    model[1].i, model[1].f = 1, -1
    before = [parameters_to_vector(model[i].parameters()) for i in (1, 2)]
    assert replace_blocks(model, BY_NAME["CAA, the gate alone"]) == 2
    assert (model[1].i, model[1].f) == (1, -1)
    assert {type(model[1]).__name__, type(model[2][0]).__name__} == {"TutorialCAA"}
    assert all(torch.equal(parameters_to_vector(model[i].parameters()), before[i - 1]) for i in (1, 2))


def test_the_page_holds_the_tables_of_the_stored_numbers(tmp_path):
    page = shutil.copy(PAGE, tmp_path / "copies.md")
    raw = json.loads(RAW.read_text(encoding="utf-8"))
    write_page(raw, page)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert set(raw["copies"]) == set(BY_NAME)
    for name, found in raw["copies"].items():
        assert found["parameters"][0] == sum(p.numel() for p in BY_NAME[name].make(CHANNELS).parameters()), name
    page.write_text("no marks")
    with pytest.raises(ValueError, match="no marks"):
        write_page(raw, page)


def test_options_are_written_as_in_a_model_yaml():
    assert option_of(BY_NAME["GAM, one sigmoid, shuffled gate"]) == "`channel_sigmoid: false, groups: 4, shuffle: gate`"
    assert option_of(BY_NAME["SGE, view, shift 0"]) == "the default"
    assert option_of(BY_NAME["MLCA, mixes images"]) == "none"
