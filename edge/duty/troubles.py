"""What is wrong with the duty here, for people (an alert) and for the group (fitness)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

# The one alert of the duty; it tells of everything that is wrong with it.
ALERT = "duty"


@dataclass(frozen=True, slots=True)
class Trouble:
    sentence: str
    is_unfit: bool


class Troubles:
    """One trouble for each source, from its first word to the proof that it is over."""

    def __init__(
        self, fitness: Callable[[str], None], alert: Callable[[str, str | None], None]
    ) -> None:
        self._tell_fitness = fitness
        self._tell_alert = alert
        self._troubles: dict[str, Trouble] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._told = ("", "")

    def note(self, source: str, sentence: str, *, is_unfit: bool) -> None:
        self._cancel_timer(source)
        self._troubles[source] = Trouble(sentence, is_unfit)
        self._tell()

    def clear(self, source: str) -> None:
        self._cancel_timer(source)
        if self._troubles.pop(source, None) is not None:
            self._tell()

    def forgive_later(self, source: str, delay: float) -> None:
        """Nothing shows whether it is over. After a time it is worth another try; people are told
        of it until that has succeeded."""
        self._cancel_timer(source)
        if source in self._troubles:
            loop = asyncio.get_running_loop()
            self._timers[source] = loop.call_later(delay, self._forgive, source)

    def close(self) -> None:
        for source in tuple(self._timers):
            self._cancel_timer(source)

    def _forgive(self, source: str) -> None:
        self.note(source, self._troubles[source].sentence, is_unfit=False)

    def _cancel_timer(self, source: str) -> None:
        timer = self._timers.pop(source, None)
        if timer is not None:
            timer.cancel()

    def _tell(self) -> None:
        unfit = "; ".join(each.sentence for each in self._troubles.values() if each.is_unfit)
        every = "; ".join(each.sentence for each in self._troubles.values())
        before, self._told = self._told, (unfit, every)
        if before[0] != unfit:
            self._tell_fitness(unfit)
        if before[1] != every:
            self._tell_alert(ALERT, f"{every[:1].upper()}{every[1:]}." if every else None)
