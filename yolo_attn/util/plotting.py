"""Draw figures of matplotlib in one style, whatever the user's settings."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import matplotlib as mpl
from matplotlib import style
from matplotlib.figure import Figure

_STYLE: dict[str, Any] = {
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.edgecolor": "#555555",
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.unicode_minus": True,
    "text.parse_math": False,
    "svg.fonttype": "none",
}


@contextmanager
def styled(**more: Any) -> Iterator[None]:
    """Apply the style and further settings of matplotlib."""
    with style.context("default"), mpl.rc_context(cast(Any, {**_STYLE, **more})):
        yield


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    held = io.BytesIO()
    with styled():
        figure.savefig(held, format="png", dpi=160, metadata={"Software": None})
    return held.getvalue()
