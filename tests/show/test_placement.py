"""Maps are aligned with the pixels of the image: wide, tall, padded, cropped and stretched inputs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from yolo_attn.show.letterbox import Placement, onto_image, onto_line, place, position_of
from yolo_attn.show.look import GateWatcher

# an image of 200 x 100 in the middle rows of a 64 x 64 input; a map of stride 8
WIDE = Placement(left=0, top=16, width=64, height=32, input_size=(64, 64))
TALL = Placement(left=16, top=0, width=32, height=64, input_size=(64, 64))


def hot(row, column, size=8):
    grid = np.zeros((size, size))
    grid[row, column] = 1
    return grid


def region(values):
    """Rows and columns, from and to, where a map is 1; it is 0 elsewhere."""
    rows, columns = np.nonzero(values)
    box = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert values[box[0] : box[1], box[2] : box[3]].all()
    return box


def test_one_hot_cell_lands_on_its_pixels_of_a_wide_image():
    # row 3 is pixels 24..31 of the input, 8..15 of the 32 rows of the image, so 25..49 of 100; column 5 is 40..47 of 64
    assert region(onto_image(hot(3, 5), WIDE, (100, 200))) == (25, 50, 125, 150)
    assert not onto_image(hot(1, 5), WIDE, (100, 200)).any()  # padding above the image


def test_one_hot_cell_lands_on_its_pixels_of_a_tall_image():
    assert region(onto_image(hot(5, 3), TALL, (200, 100))) == (125, 150, 25, 50)
    assert not onto_image(hot(5, 6), TALL, (200, 100)).any()


def test_what_a_crop_left_out_has_no_value():
    cropped = place((100, 200), (64, 64), (64, 64), cropped=True)
    values = onto_image(hot(0, 0) * 0 + 1, cropped, (100, 200))
    seen = ~np.isnan(values)
    assert region(seen) == (0, 100, 50, 150)


def test_smooth_is_bilinear_as_torch_does_it():
    grid = np.random.default_rng(0).random((6, 9))
    whole = Placement(0, 0, 72, 48, (48, 72))
    truth = F.interpolate(torch.from_numpy(grid)[None, None], (96, 144), mode="bilinear", align_corners=False)[0, 0]
    np.testing.assert_allclose(onto_image(grid, whole, (96, 144), smooth=True), truth, atol=1e-12)


def test_a_line_is_a_row_of_a_map():
    values = np.random.default_rng(0).random(8)
    across = onto_image(np.tile(values, (8, 1)), TALL, (200, 100))[77]
    np.testing.assert_array_equal(onto_line(values, TALL.left, TALL.width, 64, 100), across)


@pytest.mark.parametrize("placement", [WIDE, TALL])
def test_a_point_lies_in_the_cell_that_is_drawn_there(placement):
    image = (100, 200) if placement is WIDE else (200, 100)
    cells = np.arange(64.0).reshape(8, 8)
    drawn = onto_image(cells, placement, image)
    for x, y in ((3.5, 60.5), (99.5, 99.5), (60.5, 17.5)):
        row, column = position_of((x, y), placement, image, (8, 8))
        assert cells[row, column] == drawn[int(y), int(x)]


# --- against what Ultralytics does ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def models():
    return {name: GateWatcher(name) for name in ("yolo11n.yaml", "yolo11n-cls.yaml")}


@pytest.mark.parametrize("imgsz", [64, 96, [64, 128]])
@pytest.mark.parametrize("size", [(48, 64), (90, 41), (300, 31), (7, 200), (64, 64), (333, 500), (101, 134)])
def test_padding_is_found_to_the_pixel(models, size, imgsz):
    looked = models["yolo11n.yaml"].predict(np.full((*size, 3), 255, np.uint8), imgsz=imgsz)
    white = (looked.tensor[0, 0] == 1).numpy()
    at = looked.placement
    assert region(white) == (at.top, at.top + at.height, at.left, at.left + at.width)
    assert white.shape == at.input_size


@pytest.mark.parametrize("size", [(48, 64), (300, 101), (65, 64), (333, 500)])
def test_a_classified_image_is_cropped_as_ultralytics_crops(models, size):
    """A bright band of the image is bright in the input where the placement says."""
    height, width = size
    for axis, (length, start, end) in enumerate(((height, 0.45, 0.6), (width, 0.4, 0.55))):
        image = np.zeros((*size, 3), np.uint8)
        band = [slice(None), slice(None)]
        band[axis] = slice(round(start * length), round(end * length))
        image[tuple(band)] = 255
        looked = models["yolo11n-cls.yaml"].predict(image, imgsz=64)
        line = looked.tensor[0, 0].mean(1 - axis).numpy()
        line = (line - line.min()) / (line.max() - line.min())
        middle = (line * (np.arange(64) + 0.5)).sum() / line.sum()
        at = looked.placement
        first, along = ((at.top, at.height), (at.left, at.width))[axis]
        expected = first + (band[axis].start + band[axis].stop) / 2 * along / length
        assert middle == pytest.approx(expected, abs=0.6)
