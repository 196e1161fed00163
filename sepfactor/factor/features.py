"""What an inner stage of a chain reads, as features ``Z`` ``(n, D)`` of the patch, and products with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sepfactor.factor.covariance import Covariance, Places
from sepfactor.factor.stage import Array


class Features(Protocol):
    """What a stage reads, ``Z`` ``(n, D)``, of the patch."""

    def add(self, total: Array, post: Array, theta: Array) -> None:
        """Add ``P Θ Z`` to ``(o, D)``."""

    def back(self, post: Array, g: Array) -> Array:
        """``Pᵀ G Zᵀ`` of ``(o, D)``."""

    def covariance(self, inputs: Covariance) -> Array:
        """``Z C Zᵀ``."""


@dataclass(frozen=True, eq=False)
class Mixtures:
    """Mixtures of entries.

    Attributes:
        z: ``(n, D)``.
    """

    z: Array

    def add(self, total: Array, post: Array, theta: Array) -> None:
        total += post @ (theta @ self.z)

    def back(self, post: Array, g: Array) -> Array:
        z = self.z
        return post.T @ (g @ z.T) if post.shape[1] <= len(z) else (post.T @ g) @ z.T

    def covariance(self, inputs: Covariance) -> Array:
        found: Array = inputs.of_answers(self.z[None])[0]
        return found


@dataclass(frozen=True, eq=False)
class Entries:
    """Some of the entries as they are: products with ``Z`` are looked up.

    Attributes:
        places: ``(n,)`` which, no two alike.
    """

    places: Places

    def add(self, total: Array, post: Array, theta: Array) -> None:
        total[:, self.places] += post @ theta

    def back(self, post: Array, g: Array) -> Array:
        return post.T @ g[:, self.places]

    def covariance(self, inputs: Covariance) -> Array:
        found: Array = inputs.between(self.places)[0]
        return found
