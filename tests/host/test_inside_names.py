"""Names of rows with a block inside, as other people write them too, and mistakes in them."""

import pytest
from support.host_rows import row
from ultralytics.nn import tasks

import yolo_attn as ya
from yolo_attn.host.gated import blocks_inside
from yolo_attn.host.row_names import split_name


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("C2f_EMA", "C2f_EMA@inner"),
        ("C3k2_EMA", "C3k2_EMA@inner"),
        ("C2PSA_CAA", "C2PSA_CAA@inner"),
        ("SPPF_LSKA", "SPPF_LSKA@concat"),
        ("C3CBAM", "C3_CBAM@inner"),
        ("C3CA", "C3_CA@inner"),
        ("C3ECA", "C3_ECA@inner"),
        ("C3SE", "C3_SE@inner"),
        ("C2fCBAM@outer", "C2f_CBAM@outer"),
        ("C3_CoordAtt", "C3_CA@inner"),
        ("C3k2ELA", "C3k2_ELA@inner"),
    ],
)
def test_names_of_public_model_yamls(theirs, ours):
    """Host and block with or without an underscore; a bottleneck's block is before its shortcut is added."""
    built, expected = row(theirs, 1, [64]), row(ours, 1, [64])
    assert {k: type(b) for k, b in blocks_inside(built).items()} == {
        k: type(b) for k, b in blocks_inside(expected).items()
    }
    assert repr(built) == repr(expected)


@pytest.mark.parametrize("name", ["C3x", "C2fCIB", "C3TR", "C2fPSA", "GhostConv", "SPPELAN"])
def test_ultralytics_names_stay_its_own(name):
    assert split_name(name, tasks) is None


def test_aliases_work_inside_too():
    assert type(row("C2f_SEAttention@outer", 1, [64]).attention) is ya.ATTENTION_BLOCKS["SE"]


# --- mistakes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("module", "args", "says"),
    [
        ("C2f_ELLA", [64], "row 1 .*unknown block 'ELLA'. Did you mean 'ELA'"),
        ("DetectSEAM", [3], "row 1 .*Detect does not return one feature map"),
        ("C2ff_ELA", [64], "row 1 .*Did you mean"),
        ("C2f_SE@iner", [64], "row 1 .*unknown place 'iner'. Did you mean 'inner'"),
        ("C2f_SE", [64, {"place": "both"}], "row 1 .*unknown place 'both'"),
        ("C2f_SE@inner", [64, {"place": "outer"}], "row 1 .*@inner in the name, place: outer in the arguments"),
        ("C2f_SE", [64, {"reductoin": 8}], "row 1 .*Did you mean 'reduction'"),
        ("C2f_SGE@outer", [64, {"groups": 7}], "row 1 .*groups=7 does not divide channels=64"),
        ("CBLinear_SE", [[64]], "row 1 .*does not return one feature map"),
        ("C2f_LSKA@concat", [64], "row 1 .*C2f has no concatenation that can be gated; hosts of @concat are SPP, SPPF"),
        ("SPPF_LSKA@inner", [64, 5], "row 1 .*SPPF has no residual branch inside, so only @outer or @concat can be"),
        ("SPPF_LSKA@concat", [64, 5, {"place": "outer"}], "row 1 .*@concat in the name, place: outer in the arg"),
        ("SPPF_LSKA@cat", [64, 5], "row 1 .*unknown place 'cat'. Did you mean 'concat'"),
        ("Detect_SE", [3], "row 1 .*does not return one feature map"),
    ],
)
def test_mistakes_name_the_row(module, args, says):
    with pytest.raises(ya.YoloAttnError, match=says):
        row(module, 1, args)
