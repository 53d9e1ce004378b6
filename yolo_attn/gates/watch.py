"""Record what the attention blocks of a model compute during its forward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

Key = TypeVar("Key")
Result = TypeVar("Result")


class GateRecorder(Generic[Key, Result]):
    """Measure modules of a model by hooks on their inputs, without changing its outputs.

    The measurement of every module happens inside the forward pass, so that only its result is kept, not all maps of a
    model at once. The hooks survive ``copy.deepcopy`` of the model, and the copy's hooks add to the same results.

    Args:
        modules: Modules to watch, by any key.
        measure: Called with key, module and input before a module runs.

    Attributes:
        results: Latest result of each module that ran since :meth:`clear`, in the order they ran.
    """

    def __init__(self, modules: Mapping[Key, nn.Module], measure: Callable[[Key, nn.Module, Tensor], Result]):
        self.results: dict[Key, Result] = {}
        self._handles = [m.register_forward_pre_hook(_hook(self.results, key, measure)) for key, m in modules.items()]

    def clear(self) -> None:
        """Forget the results so far."""
        self.results.clear()

    def __enter__(self) -> GateRecorder[Key, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()


def _hook(results: dict[Key, Result], key: Key, measure: Callable[[Key, nn.Module, Tensor], Result]) -> Any:
    """Return a hook; a plain function, because ``copy.deepcopy`` shares functions but copies objects."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        results[key] = measure(key, module, inputs[0])

    return hook


def maps_of(block: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Return the maps that a block computes for its input, always as a tuple.

    Args:
        block: An attention block.
        x: Its input, ``(N, C, H, W)``.

    Raises:
        AttributeError: If the block has no ``attention(x)``.
    """
    attention: Callable[[Tensor], Tensor | Iterable[Tensor]] = block.attention  # type: ignore[assignment]
    maps = attention(x)
    return (maps,) if isinstance(maps, Tensor) else tuple(maps)
