"""Geometry between an image and a model's input: letterboxing, and maps resampled to the image.

Position ``i`` of a map of stride ``s`` covers the pixels ``[i s, (i + 1) s)`` of the input; Ultralytics' anchors are
the centres of these ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Size = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """Position of the whole image in a model's input, in pixels of the input; a cropped image reaches beyond it.

    Attributes:
        left: Left edge of the image.
        top: Upper edge of the image.
        width: Width of the image.
        height: Height of the image.
        input_size: Height and width of the input.
    """

    left: int
    top: int
    width: int
    height: int
    input_size: Size


def place(image: Size, input_size: Size, wanted: Size, cropped: bool = False, stretched: bool = False) -> Placement:
    """Return the position that Ultralytics gives an image in a model's input.

    Args:
        image: Height and width of the image.
        input_size: Height and width of the input, padding included.
        wanted: Height and width asked for (``imgsz``); a rectangular input leaves out rows or columns of padding.
        cropped: Whether the centre is cropped, as for classification.
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
    left = round((input_size[1] - new_width) / 2 - 0.1)  # odd padding: the smaller half first
    top = round((input_size[0] - new_height) / 2 - 0.1)
    return Placement(left, top, new_width, new_height, input_size)


def onto_image(grid: np.ndarray, placement: Placement, image: Size, smooth: bool = False) -> np.ndarray:
    """Return the value of a map at every pixel of an image; NaN where the image lies outside the model's input.

    Args:
        grid: Map over the model's input, ``(h, w)``.
        placement: Position of the image in the input.
        image: Height and width of the result; those of a smaller version of the image will do.
        smooth: Interpolate linearly between the centres of the positions.
    """
    y = _share(image[0], placement.top, placement.height, placement.input_size[0])
    x = _share(image[1], placement.left, placement.width, placement.input_size[1])
    values = _sampled(_sampled(grid.astype(np.float64), y, 0, smooth), x, 1, smooth)
    values[(y < 0) | (y >= 1)] = np.nan
    values[:, (x < 0) | (x >= 1)] = np.nan
    return values


def onto_line(values: np.ndarray, start: int, length: int, input_length: int, pixels: int) -> np.ndarray:
    """Return the values of a gate along one side of the input at every pixel of that side of an image.

    Args:
        values: One value per position.
        start: First pixel of the image in the input.
        length: Pixels of the image in the input.
        input_length: Pixels of the input.
        pixels: Pixels of the image.
    """
    return _sampled(values.astype(np.float64), _share(pixels, start, length, input_length), 0, False)


def position_of(point: tuple[float, float], placement: Placement, image: Size, size: Size) -> Size:
    """Return row and column of the position of a map that covers a point of the image.

    Args:
        point: x and y, in pixels of the image.
        placement: Position of the image in the input.
        image: Height and width of the image.
        size: Height and width of the map.
    """
    y = (placement.top + point[1] * placement.height / image[0]) / placement.input_size[0]
    x = (placement.left + point[0] * placement.width / image[1]) / placement.input_size[1]
    row, column = (min(max(int(share * n), 0), n - 1) for share, n in ((y, size[0]), (x, size[1])))
    return row, column


def _share(pixels: int, start: int, length: int, input_length: int) -> np.ndarray:
    """Return where the centres of an image's pixels lie along one side of the input, 0 to 1 from end to end."""
    share: np.ndarray = (start + (np.arange(pixels) + 0.5) * length / pixels) / input_length
    return share


def _sampled(values: np.ndarray, share: np.ndarray, axis: int, smooth: bool) -> np.ndarray:
    """Return the values at shares of one axis: of the position a share lies in, or interpolated between centres.

    ``cv2.remap`` would round the weights of an interpolation to 1/32.
    """
    positions = values.shape[axis]
    if smooth:
        centres = np.arange(positions) + 0.5
        return np.apply_along_axis(lambda line: np.interp(share * positions, centres, line), axis, values)
    return values.take(np.clip(np.floor(share * positions).astype(int), 0, positions - 1), axis)
