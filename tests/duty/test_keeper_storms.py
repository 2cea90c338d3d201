"""Requests at random moments, refusals at random calls: every answer of the keeper is true."""

import asyncio
import random
from collections.abc import Callable
from functools import partial

import pytest

from tests.duty.keeping import Kept, keeping, process, until
from tests.duty.recording_guard import RecordingGuard

ADDRESSES = ["10.0.0.1/24", "10.0.0.2/24"]
TABLES = {
    "address": [{"address": each, "interface": "eth0"} for each in ADDRESSES],
    "process": [
        process("hot", restart_delay=0.01),
        process("cold", run_on="standby"),
        process("driver", ["cat"], run_on="always", instance=True),
    ],
    "hook": [{"on_hot": ["true"], "on_standby": ["true"]}],
}


def duty_left(guard: RecordingGuard) -> list[str]:
    """What a node that is not hot must not have."""
    guarded = [each for each in guard.running if guard.guarded[each]]
    return [*guard.addresses, *guard.farewells, *guarded]


def check_each_report(kept: Kept, wrong: list[str]) -> None:
    """Replaces the callbacks by some that look at once."""

    def started(term: int) -> None:
        if set(kept.guard.addresses) != set(ADDRESSES) or "hot" not in kept.guard.running:
            wrong.append(f"started {term}: {kept.guard.addresses}, {kept.guard.running}")
        kept.reports.append(f"started {term}")

    def ended(word: str) -> Callable[..., None]:
        def report(term: int, *_: str) -> None:
            wrong.extend(f"{word} {term}: {each}" for each in duty_left(kept.guard))
            kept.reports.append(f"{word} {term}")

        return report

    callbacks = kept.keeper._callbacks
    object.__setattr__(callbacks, "started", started)
    object.__setattr__(callbacks, "stopped", ended("stopped"))
    object.__setattr__(callbacks, "failed", ended("failed"))


async def storm(kept: Kept, dice: random.Random) -> list[int]:
    """Terms grow as in life. Often the next request comes while the last one is being met."""
    stops = []
    for term in range(1, 25):
        kept.keeper.start(term, "storm")
        if term == 1 or dice.random() < 0.5:
            await until(partial(has_ended, kept, term))
        else:
            await asyncio.sleep(dice.choice((0.0, 0.001, 0.02, 0.1)))
        match dice.randrange(8) if term > 1 else 2:
            case 0:
                kept.guard.refused[f"hold {ADDRESSES[1]} eth0"] = "it is somebody else's"
            case 1 | 4:
                kept.guard.refused.clear()
            case 2:
                kept.guard.addresses.clear()
                kept.guard.farewells.clear()
                kept.keeper.withdrawn("deadline")
            case 3:
                continue  # the next start comes without a stop
        kept.keeper.stop(term, at_once=dice.randrange(4) == 0)
        stops.append(term)
        if dice.random() < 0.5:
            await until(partial(has_stopped, kept, term))
    return stops


def has_stopped(kept: Kept, term: int) -> bool:
    return f"stopped {term}" in kept.reports


def has_ended(kept: Kept, term: int) -> bool:
    """The start of a term, in one way or the other."""
    return any(f"{word} {term}" in kept.reports for word in ("started", "failed"))


@pytest.mark.parametrize("seed", range(4))
async def test_every_report_is_true(seed: int) -> None:
    wrong: list[str] = []
    async with keeping(**TABLES) as kept:
        check_each_report(kept, wrong)
        stops = await storm(kept, random.Random(seed))
        kept.keeper.stop(99)
        await until(lambda: "stopped 99" in kept.reports, 30)
        answered = [each for each in kept.reports if each.startswith("stopped")]
        assert answered == [f"stopped {term}" for term in (*stops, 99)]
        assert wrong == []
        assert {"started 1", "failed 1"} <= set(kept.reports)
