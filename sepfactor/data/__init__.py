"""What a network is shown: model inputs from whatever a user names."""

from __future__ import annotations

from sepfactor.data.feeds import Feed, Feeds
from sepfactor.data.images import Preprocessing
from sepfactor.data.inputs import InputSpec
from sepfactor.data.sources import load_function, open_feeds

__all__ = ["Feed", "Feeds", "InputSpec", "Preprocessing", "load_function", "open_feeds"]
