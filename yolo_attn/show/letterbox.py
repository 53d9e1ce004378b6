"""Where an image lies in a model's input, and a map of the model's laid over the image again.

Position ``i`` of a map of stride ``s`` stands for the pixels ``[i s, (i + 1) s)`` of the input, as in Ultralytics' own
anchors, which lie in the middle of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Size = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """Where the whole image lies in a model's input, in pixels of the input; it may reach beyond where it was cropped.

    Attributes:
        left: Of the image's left edge.
        top: Of its upper edge.
        width: Of the image.
        height: Of the image.
        input_size: Height and width of the input.
    """

    left: int
    top: int
    width: int
    height: int
    input_size: Size


def place(image: Size, input_size: Size, wanted: Size, cropped: bool = False, stretched: bool = False) -> Placement:
    """Return where Ultralytics puts an image in a model's input.

    Args:
        image: Height and width of the image.
        input_size: Those of the input, padding included.
        wanted: Those asked for (``imgsz``), of which a rectangular input drops what would be padding only.
        cropped: Whether the middle is cut out, as for classification.
        stretched: Whether the image fills the input, as for RT-DETR.
    """
    height, width = image
    if stretched or (cropped and input_size[0] != input_size[1]):
        return Placement(0, 0, input_size[1], input_size[0], input_size)
    if cropped:
        side = input_size[0]
        new_width, new_height = (max(side, int(side * n / min(image))) for n in (width, height))
        return Placement(
            -round((new_width - side) / 2), -round((new_height - side) / 2), new_width, new_height, input_size
        )
    ratio = min(wanted[0] / height, wanted[1] / width)
    new_width, new_height = max(round(width * ratio), 1), max(round(height * ratio), 1)
    left = round((input_size[1] - new_width) / 2 - 0.1)  # of an odd padding the smaller half comes first
    top = round((input_size[0] - new_height) / 2 - 0.1)
    return Placement(left, top, new_width, new_height, input_size)


def onto_image(grid: np.ndarray, placement: Placement, image: Size, smooth: bool = False) -> np.ndarray:
    """Return the value of a map at every pixel of an image; NaN where the model did not see the image.

    Args:
        grid: Map over the model's input, ``(h, w)``.
        placement: Where the image lies in the input.
        image: Height and width of the result; a smaller version of the image will do.
        smooth: Interpolate between the middles of the positions instead of showing them as they are.
    """
    y = _in_input(image[0], placement.top, placement.height)
    x = _in_input(image[1], placement.left, placement.width)
    height, width = placement.input_size
    weigh = _weights if smooth else _picks
    values = weigh(y / height, grid.shape[0]) @ grid.astype(np.float64) @ weigh(x / width, grid.shape[1]).T
    values[(y < 0) | (y >= height)] = np.nan
    values[:, (x < 0) | (x >= width)] = np.nan
    return values


def onto_line(values: np.ndarray, start: int, length: int, input_length: int, pixels: int) -> np.ndarray:
    """Return the values of a gate along one side of the input at every pixel of that side of an image.

    Args:
        values: One per position.
        start: Of the image in the input.
        length: Of the image in the input.
        input_length: Of the input.
        pixels: Of the image.
    """
    return _picks(_in_input(pixels, start, length) / input_length, len(values)) @ values.astype(np.float64)


def position_of(point: tuple[float, float], placement: Placement, image: Size, size: Size) -> Size:
    """Return row and column of the position of a map in which a point of the image lies.

    Args:
        point: x and y, in pixels of the image.
        placement: Where the image lies in the input.
        image: Height and width of the image.
        size: Height and width of the map.
    """
    y = (placement.top + point[1] * placement.height / image[0]) / placement.input_size[0]
    x = (placement.left + point[0] * placement.width / image[1]) / placement.input_size[1]
    row, column = (min(max(int(share * n), 0), n - 1) for share, n in ((y, size[0]), (x, size[1])))
    return row, column


def _in_input(pixels: int, start: int, length: int) -> np.ndarray:
    """Return where the middles of an image's pixels lie in the input."""
    return start + (np.arange(pixels) + 0.5) * length / pixels


def _picks(share: np.ndarray, positions: int) -> np.ndarray:
    """Return the matrix that gives each pixel the value of the position it lies in."""
    at = np.clip(np.floor(share * positions).astype(int), 0, positions - 1)
    return np.eye(positions)[at]


def _weights(share: np.ndarray, positions: int) -> np.ndarray:
    """Return the matrix that interpolates linearly between the middles of the positions."""
    at = np.clip(share * positions - 0.5, 0, positions - 1)
    return np.clip(1 - np.abs(at[:, None] - np.arange(positions)), 0, None)
