"""A transfer names the new blocks that change what the weights have learned."""

import pytest

import yolo_attn as ya


@pytest.mark.parametrize(
    ("block", "inside", "init", "changing"),
    [
        ("SE", None, "paper", (17, 21, 25)),
        ("SimAM", None, "paper", (17, 21, 25)),  # without parameters
        ("SE", None, "identity", ()),
        ("GCT", None, "paper", ()),  # its paper's start is the identity
        ("SE", "C3k2", "paper", (2, 4, 6, 8, 13, 16, 19, 22)),
        ("SE", "C3k2", "identity", ()),
    ],
)
def test_new_blocks_that_change_what_the_weights_have_learned(block, inside, init, changing, base_weights, tmp_path):
    made = ya.insert("yolo11n.yaml", block, inside=inside, init=init).save(tmp_path / "yolo11n-new.yaml")
    model = ya.YOLO(made)
    report = ya.transfer_weights(model, base_weights)
    assert report.changing == changing
    assert ("they start as y = x" in report.summary()) == bool(changing)
    again = ya.transfer_weights(ya.YOLO(made), model)
    assert again.changing == ()  # the blocks have come with the weights
