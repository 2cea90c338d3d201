"""How a broken law travels: what is refused, and why."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """One broken law: the key's place in the file, its value, and the sentence."""

    key: tuple[str, ...]
    value: object
    sentence: str


class LawBrokenError(ValueError):
    """Carries a refusal through pydantic to the place where it is worded."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal
