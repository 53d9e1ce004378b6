"""Convert errors of building or running a model with attention to one sentence that names the row.

Errors of models without attention are left unchanged.
"""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yolo_attn.errors import YoloAttnError, like
from yolo_attn.host import registry
from yolo_attn.host.compat import TASKS, tasks
from yolo_attn.host.row_names import with_noted_names


@contextlib.contextmanager
def name_row_in_errors(model: Mapping[str, Any]) -> Iterator[None]:
    """Convert exceptions of parsing or running a model with attention to one error that names the row.

    Args:
        model: The model dict.

    Raises:
        YoloAttnError: Instead of any other exception, and still caught as that.
    """
    try:
        yield
    except YoloAttnError:
        raise
    except Exception as error:
        raise like(error, _describe(error, model)) from error


def name_row_in_init_errors(construct: Callable[..., None]) -> Callable[..., None]:
    """Wrap the constructor of a host model, which also runs it once, so that errors in it name the row.

    The names of its rows that are blocks are noted in its ``yaml``.
    """

    @functools.wraps(construct)
    def constructs(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            construct(self, *args, **kwargs)
        except YoloAttnError:
            raise
        except Exception as error:
            if not _has_attention(getattr(self, "model", None)):
                raise
            raise like(error, _describe(error, self.yaml)) from error
        if isinstance(getattr(self, "yaml", None), dict):
            self.yaml = with_noted_names(self.yaml, tasks())

    return constructs


def _has_attention(rows: Any) -> bool:
    from yolo_attn.host.gated import blocks_inside

    return rows is not None and (any(map(registry.is_attention, rows)) or bool(blocks_inside(rows)))


def _describe(error: Exception, model: Mapping[str, Any]) -> str:
    rows, index = [*model["backbone"], *model["head"]], _row_at(error)
    where = f"row {index} {rows[index]}" if index is not None and index < len(rows) else "this model"
    return f"{where} cannot be built or run: {type(error).__name__}: {str(error)[:300]}"


def modules_of(error: BaseException) -> list[str]:
    """Return the names of the modules in an error's traceback, the one that raised it last."""
    return [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]


def _row_at(error: Exception) -> int | None:
    """Return the row that Ultralytics was building or running, from the loop variables in the traceback."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed([f for f in frames if f.f_globals.get("__name__") == TASKS]):
        found = frame.f_locals.get("i") if frame.f_code.co_name == "parse_model" else frame.f_locals.get("m")
        index = found if isinstance(found, int) else getattr(found, "i", None)
        if isinstance(index, int):
            return index
    return None
