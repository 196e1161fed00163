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


class Making(NamedTuple):
    """How files become inputs.

    Attributes:
        images: how an image does.
        sample_rate: values a second that sounds have there; None: as many as in their files.
    """

    images: Preprocessing = Preprocessing()
    sample_rate: int | None = None

    def check(self, kind: Kind, origin: str) -> None:
        """Refuse options that are for another kind of data.

        Args:
            kind: of the data.
            origin: what the user would call them.

        Raises:
            OptionError: one is given; the message names it, and what does the same.
        """
        usual = Preprocessing()
        given = [name for name, value in vars(self.images).items() if value != getattr(usual, name)]
        if given and kind != "images":
            flags = ", ".join(f"--{name}" for name in given) + (" is" if len(given) == 1 else " are")
            raise OptionError(f"{flags} for images, but {origin} gives {kind}, {_MENDS[kind]}.")
        if self.sample_rate is not None and kind != "sounds":
            raise OptionError(
                f"--sample-rate is for sounds in .wav files, but {origin} gives {kind}. Leave it out."
            )
