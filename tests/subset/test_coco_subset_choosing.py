"""Choice of images for a subset: proportions recomputed with plain loops, filters, seeds and presets."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from yolo_attn.errors import YoloAttnError
from yolo_attn.subset.choice import PRESETS, Choice, amount, parse_amount, preset
from yolo_attn.subset.divergence import class_errors, divergence, jensen_shannon, random_divergence
from yolo_attn.subset.labelled_images import CROWD, LabelledImages
from yolo_attn.subset.qualify import eligible_images, filter_boxes
from yolo_attn.subset.sampling import _count, choose


def made_up(images: int = 3000, classes: int = 30, seed: int = 5, rarest: int = 1) -> LabelledImages:
    """Random set with skewed, correlated classes and some empty images; class 0 is on `rarest` images only."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, classes) ** 1.2
    counts = rng.geometric(1 / 7, images) - 1
    counts[:rarest] = np.maximum(counts[:rarest], 1)
    image = np.repeat(np.arange(images), counts)
    kinds = 1 + rng.choice(classes - 1, (images, 3), p=shares / shares.sum())
    category = kinds[image, rng.integers(0, 3, len(image))]
    category[[int(np.flatnonzero(image == k)[0]) for k in range(rarest)]] = 0
    return LabelledImages(
        origin="made up",
        class_names=tuple(f"class {k}" for k in range(classes)),
        ids=list(range(100, 100 + images)),
        file_names=[f"{k}.jpg" for k in range(images)],
        folders=(Path("/nowhere"),),
        image=image,
        category=category,
        box=np.full((4, len(image)), 0.5),
        area=np.exp(rng.normal(7.5, 1.5, len(image))),
        fate=np.where(rng.random(len(image)) < 0.03, np.int8(CROWD), np.int8(0)),
    )


def shares_by_loop(images: LabelledImages, key) -> dict:
    found = Counter()
    for k in range(len(images.image)):
        if images.fate[k] == 0:
            found[key(int(images.category[k]), float(images.area[k]))] += 1
    return {name: count / sum(found.values()) for name, count in found.items()}


def js_by_loop(p: dict, q: dict) -> float:
    total = 0.0
    for name in {*p, *q}:
        a, b = p.get(name, 0.0), q.get(name, 0.0)
        for r in (a, b):
            total += r / 2 * math.log2(r / ((a + b) / 2)) if r else 0.0
    return total


def size_bin(area: float) -> str:
    return "small" if area < 1024 else "medium" if area < 9216 else "large"


@pytest.fixture(scope="module")
def whole() -> LabelledImages:
    return made_up()


def test_divergence_by_hand():
    assert jensen_shannon(np.array([1, 0]), np.array([0, 5])) == 1
    assert jensen_shannon(np.array([2, 2]), np.array([7, 7])) == 0
    # p = (1, 0), q = (1/2, 1/2): 1/2 log2(4/3) + 1/2 (1/2 log2(2/3) + 1/2 log2(2))
    by_hand = 0.5 * math.log2(4 / 3) + 0.25 * math.log2(2 / 3) + 0.25
    assert jensen_shannon(np.array([3, 0]), np.array([4, 4])) == pytest.approx(by_hand)
    np.testing.assert_allclose(class_errors(np.array([1, 3, 0]), np.array([50, 50, 0])), [-0.5, 0.5, 0])


def test_divergence_is_what_loops_give(whole):
    part = whole.take(np.arange(0, 3000, 11))
    found = divergence(part, whole)
    for measure, key in (("class", lambda c, a: c), ("class_size", lambda c, a: (c, size_bin(a)))):
        assert found[measure] == pytest.approx(js_by_loop(shares_by_loop(part, key), shares_by_loop(whole, key)))
    mine, full = shares_by_loop(part, lambda c, a: c), shares_by_loop(whole, lambda c, a: c)
    assert found["max_class_error"] == pytest.approx(max(abs(mine.get(c, 0) / full[c] - 1) for c in full))


def test_the_dense_counts_are_what_loops_give(whole):
    rows = np.array([0, 17, 2999])
    table = _count(whole).dense(rows) / 16
    for line, row in zip(table, rows, strict=True):
        boxes = [k for k in range(len(whole.image)) if whole.image[k] == row and whole.fate[k] == 0]
        expected = np.zeros(30 * 5 + 9)
        for k in boxes:
            category, size = whole.category[k], ("small", "medium", "large").index(size_bin(whole.area[k]))
            expected[category * 3 + size] += 1
            expected[90 + category] += 1
            expected[120 + category] = 1
        expected[150 + sum(len(boxes) >= border for border in (1, 2, 3, 4, 6, 9, 14, 20))] = 1
        np.testing.assert_array_equal(line, expected)


@pytest.mark.parametrize("number", [100, 300, 1000, 2500])
@pytest.mark.parametrize("seed", [0, 1])
def test_stratified_is_clearly_nearer_than_random(whole, number, seed):
    chosen = choose(whole, number, "stratified", seed)
    assert len(set(chosen.tolist())) == number
    assert (np.diff(chosen) > 0).all()
    found, random = divergence(whole.take(chosen), whole), random_divergence(whole, number, seed)
    for measure, factor in {"class": 5 if number == 100 else 10, "class_size": 3, "boxes_per_image": 2}.items():
        assert found[measure] * factor < random[measure], measure
    if number > 100:  # one box of the rarest class, which must not vanish, is 30 times its share of 100 images
        assert found["max_class_error"] < random["max_class_error"]


def test_rare_classes_do_not_vanish(whole):
    random = [set(whole.category[np.isin(whole.image, choose(whole, 60, "random", s)) & whole.kept]) for s in range(5)]
    assert any(len(classes) < 30 for classes in random), "the set has no rare class: the test shows nothing"
    for seed in range(5):
        part = whole.take(choose(whole, 60, "stratified", seed))
        assert set(part.category[part.kept].tolist()) == set(whole.category[whole.kept].tolist())


def test_more_rare_classes_than_images_is_no_reason_to_fail(whole):
    for number in (1, 2, 3, 2999, 3000):
        assert len(choose(whole, number, "stratified", 0)) == number
    empty = whole.exclude_boxes(np.ones(len(whole.image), bool), CROWD)
    assert len(choose(empty, 50, "stratified", 0)) == 50


def counted_out() -> LabelledImages:
    """Deterministic set."""
    image = np.repeat(np.arange(400), np.arange(400) ** 2 % 11)
    number = np.arange(len(image))
    area = (number * 37 % 12_000).astype(float)
    category = np.minimum(number**2 % 17, number % 13)
    return LabelledImages(
        "counted out", tuple("abcdefghijklm"), range(400), [f"{k}.jpg" for k in range(400)], (), image, category,
        np.zeros((4, len(image))), area, np.zeros(len(image), np.int8),
    )  # fmt: skip


def test_a_seed_means_the_same_images_everywhere():
    """Numbers written down: another platform, Python or NumPy must find them again."""
    images = counted_out()
    assert choose(images, 8, "random", 0).tolist() == GOLDEN["random"]
    assert choose(images, 8, "stratified", 0).tolist() == GOLDEN["stratified"]
    assert choose(images, 100, "stratified", 4)[:8].tolist() == GOLDEN["stratified 100, seed 4"]
    assert choose(images, 8, "stratified", 1).tolist() != GOLDEN["stratified"]


GOLDEN = {
    "random": [3, 11, 92, 113, 150, 196, 269, 340],
    "stratified": [32, 38, 92, 150, 191, 196, 269, 365],
    "stratified 100, seed 4": [3, 7, 18, 23, 29, 34, 35, 39],
}


def test_random_choices_are_nested(whole):
    hundred = set(choose(whole, 100, "random", 3).tolist())
    assert hundred < set(choose(whole, 200, "random", 3).tolist())


def test_filters_by_loop(whole):
    wanted = {"class 3", "class 7"}
    choice = Choice(classes=("class 7", "class 3"), sizes=("small", "large"), min_boxes=2)
    filtered = filter_boxes(whole, choice)
    assert filtered.class_names == ("class 3", "class 7")
    boxes = Counter()
    for k in range(len(whole.image)):
        keeps = f"class {whole.category[k]}" in wanted and size_bin(whole.area[k]) != "medium" and whole.fate[k] == 0
        assert (filtered.fate[k] == 0) == keeps
        if keeps:
            boxes[int(whole.image[k])] += 1
            assert filtered.class_names[filtered.category[k]] == f"class {whole.category[k]}"
    assert eligible_images(filtered, choice).tolist() == sorted(image for image, count in boxes.items() if count >= 2)
    kept_ids = filter_boxes(whole, Choice(classes=("class 7",), keep_class_ids=True))
    assert kept_ids.class_names == whole.class_names
    assert set(kept_ids.category[kept_ids.kept].tolist()) == {7}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_background_is_at_most_the_share_asked_for(whole, share):
    filtered = filter_boxes(whole, Choice(classes=("class 9",)))
    found = eligible_images(filtered, Choice(background=share))
    shown = int((filtered.boxes_per_image > 0).sum())
    empty = int((filtered.boxes_per_image[found] == 0).sum())
    assert len(found) - empty == shown
    assert empty == (len(whole) - shown if share == 1 else math.floor(share * shown / (1 - share) + 1e-9))


def test_sizes_have_cocos_borders(whole):
    areas = np.array([1, 1023.9, 1024, 9215.9, 9216, 1e6])
    images = LabelledImages(
        "x",
        ("a",),
        [1],
        ["1.jpg"],
        (),
        np.zeros(6, int),
        np.zeros(6, int),
        np.zeros((4, 6)),
        areas,
        np.zeros(6, np.int8),
    )
    assert images.size.tolist() == [0, 0, 1, 1, 2, 2]


def test_amounts():
    assert [parse_amount(t) for t in ("5000", "0.25", "10%", " 7 ", "1", "1.0")] == [5000, 0.25, 0.1, 7, 1, 1.0]
    assert amount(None, 9, "x") == 9
    assert amount(0.5, 9, "x") == 5  # halves are rounded up
    assert amount(0.001, 9, "x") == 1
    assert amount(1.0, 9, "x") == 9
    for wrong in (0, -1, 10, True):
        with pytest.raises(YoloAttnError, match="ask for 1 to 9 of them"):
            amount(wrong, 9, "x")
    for wrong in ("many", "", "nan", "1e999"):
        with pytest.raises(YoloAttnError, match="is no number of images"):
            parse_amount(wrong)


def test_presets():
    assert {name: choice.images for name, choice in PRESETS.items()} == {
        "coco-1k": 1000,
        "coco-5k": 5000,
        "minitrain-25k": 25000,
    }
    assert all(c.sampling == "stratified" and c.seed == 0 and c.val_images is None for c in PRESETS.values())
    with pytest.raises(YoloAttnError, match=r"unknown preset 'coco5k'. Did you mean 'coco-5k'\? Allowed: coco-1k"):
        preset("coco5k")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sampling": "stratifed"}, "Did you mean 'stratified'"),
        ({"sizes": ("smal",)}, "unknown size 'smal'. Did you mean 'small'?"),
        ({"sizes": ()}, "sizes is empty"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"min_boxes": 1.5}, "min_boxes must be a whole number"),
        ({"background": 2}, "background is a share from 0 to 1, not 2"),
        ({"images": 1.5}, "images as a fraction"),
    ],
)
def test_wrong_choices(wrong, said):
    with pytest.raises(YoloAttnError) as caught:
        Choice(**wrong)
    assert said in str(caught.value)


def test_nothing_qualifies(whole):
    with pytest.raises(YoloAttnError, match="no image of made up qualifies: none has 999 or more boxes"):
        eligible_images(whole, Choice(min_boxes=999))
