"""Read the arguments of a block's row as their author meant them.

Public model YAMLs write rows for classes that take the number of channels first, and then not always what the block
here takes first: ``[-1, 1, CBAM, [1024, 7]]`` is a kernel size, ``[-1, 1, GlobalContextBlock, [512, 0.25]]`` a share of
the channels. A block's ``public`` names the order of the arguments in such classes. That order is taken where the row
has a number of channels or another name than the block's; elsewhere the block's own order comes first. The other one,
and then those of the block's other names, are taken where the first is an error, or has a value that is hardly meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yolo_attn.errors import YoloAttnError, shorten
from yolo_attn.host.channel_counts import Widths, counts_in
from yolo_attn.host.hyper import bind, hyper_parameters
from yolo_attn.host.registry import resolve
from yolo_attn.util.words import literal

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Reading:
    """The hyper-parameters of a row, and how they were found.

    Attributes:
        hyper: By name.
        counts: How many numbers of channels stood before them.
        plain: Whether the row says the same in the block's own order.
    """

    hyper: dict[str, Any]
    counts: int
    plain: bool

    def said(self, name: str, args: Sequence[Any]) -> str:
        """Return what was understood, or an empty string for a row in the block's own order."""
        if self.plain and not self.counts:
            return ""
        channels = f"{args[0]} is the number of channels; " if self.counts else ""
        return f"{channels}read as {name}({', '.join(f'{k}={v!r}' for k, v in self.hyper.items())})"


def depends_on_channels(cls: type[nn.Module], args: Sequence[Any]) -> bool:
    """Tell whether arguments of a row are read with regard to its channels: values without names of our blocks."""
    return cls.__module__.startswith("yolo_attn.") and bool(args) and not isinstance(args[0], Mapping)


def read_arguments(cls: type[nn.Module], called: str, args: Sequence[Any], widths: Widths) -> Reading:
    """Return the hyper-parameters that the arguments of a row mean.

    Args:
        cls: The row's block, one of this package.
        called: The row's name without ``yolo_attn.``; it may be another name of the block.
        args: The row's arguments; a mapping at their end has hyper-parameters by name.
        widths: Channels of the row's input.

    Raises:
        YoloAttnError: If they mean nothing in any order; the error is that of the order which comes first.
    """
    args = [literal(value) for value in args]
    counts = counts_in(args, widths)
    given = list(args[counts:])
    named = dict(given.pop()) if given and isinstance(given[-1], Mapping) else {}
    own = [n for n, p in hyper_parameters(cls).items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    public = {name: list(order) for name, order in getattr(cls, "public", {}).items()}
    orders = [own, *([public[called]] if called in public else [])]
    if counts or resolve(called)[0] != called:
        orders.reverse()
    orders += [order for order in public.values() if order not in orders]
    found: list[tuple[dict[str, Any], list[str]]] = []
    errors: list[YoloAttnError] = []
    for order in orders:
        try:
            hyper = _in_order(cls, order, given, named, widths)
        except YoloAttnError as error:
            errors.append(error)
            continue
        if all(_is_likely(name, hyper[name]) for name in order if name in hyper and name not in named):
            return _reading(cls, hyper, counts, order, own, given)
        found.append((hyper, order))
    if not found:
        raise errors[0]
    return _reading(cls, found[0][0], counts, found[0][1], own, given)


def _reading(
    cls: type, hyper: dict[str, Any], counts: int, order: list[str], own: list[str], given: Sequence[Any]
) -> Reading:
    used = order[: len(given)]
    plain = used == own[: len(given)] and all(hyper.get(n) == v for n, v in zip(used, given, strict=True))
    return Reading(hyper, counts, plain)


def _in_order(
    cls: type[nn.Module], order: Sequence[str], given: Sequence[Any], named: Mapping[str, Any], widths: Widths
) -> dict[str, Any]:
    """Return the hyper-parameters of arguments in an order, checked.

    Raises:
        YoloAttnError: If there are too many, one has no such value, or one is given twice with different values.
    """
    if len(given) > len(order):
        bind(cls, [*given, named])  # which says what is wrong, if the order is the block's own
        raise YoloAttnError(f"{cls.__name__} takes at most {len(order)} values in this order; {given} were given")
    placed: dict[str, Any] = {}
    for name, value in zip(order, given, strict=False):
        name, _, only = name.partition("=")
        value = _inverse(value) if name == "reduction" else value
        if only:
            if str(value) != only:
                raise YoloAttnError(f"{cls.__name__}: {name} can only be {only} here, not {shorten(value)}")
            continue
        if placed.get(name, value) != value:
            raise YoloAttnError(f"{cls.__name__} has one {name}; {placed[name]!r} and {value!r} were given")
        placed[name] = value
    if twice := placed.keys() & named.keys():
        raise YoloAttnError(f"{cls.__name__} got {sorted(twice)[0]} twice: by position and by name")
    hyper = bind(cls, [], {**placed, **named})
    for name in placed:
        _check_limit(name, hyper[name], widths)
    return hyper


def _inverse(value: Any) -> Any:
    """Return the reduction that is written as a share of the channels, such as 4 for 0.25."""
    if isinstance(value, float) and 0 < value < 1 and abs(round(1 / value) * value - 1) < 0.01:
        return round(1 / value)
    return value


def _check_limit(name: str, value: Any, widths: Widths) -> None:
    """Refuse a number that was probably to be that of the channels.

    Raises:
        YoloAttnError: If it is even and the size of a kernel, or too large for what divides the channels.
    """
    if type(value) is not int:
        return
    if name in ("reduction", "groups", "factor") and (value > widths.now or value >= max(128, widths.now / 2)):
        why = f"as {name} it is too many for them"
        instead = f"leave it out, or write {{{name}: {value}}}"
    elif name == "kernel_size" and value % 2 == 0:
        why, instead = "a kernel_size has to be odd", "leave it out"
    else:
        return
    raise YoloAttnError(
        f"{value} is not the number of channels of the row that it reads ({widths}), and {why}; {instead}"
    )


def _is_likely(name: str, value: Any) -> bool:
    """Tell whether a hyper-parameter may be meant by a number without a name."""
    unlikely: dict[str, Callable[[Any], bool]] = {
        "reduction": lambda n: n % 2 == 1 and n > 1,
        "heads": lambda n: n % 2 == 1 and n > 1,
        "local_weight": lambda n: n > 1,
    }
    return name not in unlikely or not isinstance(value, (int, float)) or not unlikely[name](value)
