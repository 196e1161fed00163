"""What a network is shown: model inputs from whatever a user names."""

from __future__ import annotations

from sepfactor.data.feeds import Feed, Feeds
from sepfactor.data.inputs import InputSpec
from sepfactor.data.preprocessing import Preprocessing
from sepfactor.data.sources import open_feeds

__all__ = ["Feed", "Feeds", "InputSpec", "Preprocessing", "open_feeds"]
