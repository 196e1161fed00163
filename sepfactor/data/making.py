"""What says how files become inputs, and which kind of data it is for."""

from __future__ import annotations

from typing import Literal, NamedTuple

from sepfactor.data.preprocessing import Preprocessing
from sepfactor.errors import OptionError

Kind = Literal["arrays", "images", "sounds"]

_MENDS = {
    "arrays": "which are fed as they are. Leave it out, and bring them into the form of the input yourself, "
    "such as x.transpose(0, 3, 1, 2) / 255; or give a folder of images",
    "sounds": "which are fed as they are, in −1..1. Leave it out, or give a file.py:function that makes of "
    "them what the network takes",
}
"""Kind of data → what to do where options for images are given with it."""

_OF_FILES = ("resize", "letterbox", "border")
"""Options that say which part of an image is fed, of which made-up ones, as large as the input, have none."""

_NO_DATA = "inputs are made up, since no --data was given. Give it, or leave the option out."


def unused_by(kind: Kind | None) -> tuple[str, ...]:
    """Options of images and sounds that say nothing of a kind of data; None: of made-up ones."""
    images = {"images": (), None: _OF_FILES}.get(kind, tuple(vars(Preprocessing())))
    return images if kind == "sounds" else (*images, "sample_rate")


class Making(NamedTuple):
    """How files become inputs.

    Attributes:
        images: how an image does.
        sample_rate: values a second that sounds have there; None: as many as in their files.
        elsewhere: kind of other data that the same options are for, and may be meant for.
    """

    images: Preprocessing = Preprocessing()
    sample_rate: int | None = None
    elsewhere: Kind | None = None

    def check(self, kind: Kind | None, origin: str) -> None:
        """Refuse options that are for another kind of data.

        Args:
            kind: of the data; None where inputs are made up, which takes units and layout of images.
            origin: what the user would call them.

        Raises:
            OptionError: one is given; the message names it, and what does the same.
        """
        usual, unused = Preprocessing(), unused_by(kind)
        changed = (name for name, value in vars(self.images).items() if value != getattr(usual, name))
        given = [name for name in changed if name in unused]
        if given and self.elsewhere != "images":
            flags = ", ".join(f"--{name}" for name in given) + (" is" if len(given) == 1 else " are")
            if kind is None:
                raise OptionError(f"{flags} for images in files, but {_NO_DATA}")
            raise OptionError(f"{flags} for images, but {origin} gives {kind}, {_MENDS[kind]}.")
        if self.sample_rate is not None and "sounds" not in {kind, self.elsewhere}:
            given_instead = _NO_DATA if kind is None else f"{origin} gives {kind}. Leave it out."
            raise OptionError(f"--sample-rate is for sounds in .wav files, but {given_instead}")
