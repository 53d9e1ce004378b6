"""What a page of pictures consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        name: Its file, relative to the page's folder.
        png: The file's content.
        caption: What it shows, in words.
    """

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Card:
    """What belongs together: the pictures of one block, or of one place in two models.

    Attributes:
        title: A heading; may be empty.
        columns: The pictures of each model.
        notes: What is to be said besides.
    """

    title: str
    columns: Sequence[Sequence[Panel]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Chapter:
    """All that is shown of one image.

    Attributes:
        title: The image's name.
        key: A name for links, unique among the chapters.
        cards: What is shown.
    """

    title: str
    key: str
    cards: Sequence[Card]

    @property
    def panels(self) -> list[Panel]:
        """All pictures of the chapter."""
        return [panel for card in self.cards for column in card.columns for panel in column]
