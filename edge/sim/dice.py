"""Everything that is drawn, out of one seed and one method that no Python version changes."""

import random
from collections.abc import Sequence
from math import exp, log
from typing import TypeVar

Item = TypeVar("Item")


class Dice:
    """Only `Random.random` is used: what `choice` or `shuffle` make of it may change."""

    __slots__ = ("random",)

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed).random  # noqa: S311  no secret

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def log_between(self, low: float, high: float) -> float:
        """Each order of magnitude as likely as the next, rounded so that it reads well."""
        return float(f"{exp(self.between(log(low), log(high))):.3g}")

    def below(self, end: int) -> int:
        return int(self.random() * end)

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        left, result = list(items), []
        while left:
            result.append(left.pop(self.below(len(left))))
        return result
