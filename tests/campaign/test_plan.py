"""What is drawn depends on the seed alone, and covers every kind of fault."""

from itertools import islice

from tests.campaign.faults import DEEDS, storm_deaths
from tests.campaign.plan import (
    FOR_WITNESS,
    FREEZE_MAX,
    FREEZE_MIN,
    FREEZES,
    HOT,
    LOSS_MAX,
    STANDBY,
    Episode,
    Fault,
    Strike,
    episodes,
)
from tests.lan.groupfile import WITNESS

NODES = ("white", "black")


def drawn(seed: int, count: int = 300, *, has_witness: bool = True) -> list[Episode]:
    return list(islice(episodes(seed, NODES, has_witness=has_witness), count))


def strikes(seed: int) -> list[Strike]:
    return [strike for episode in drawn(seed) for strike in episode.strikes]


def test_same_seed_draws_the_same_and_another_one_something_else() -> None:
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_every_fault_is_drawn_and_can_be_done() -> None:
    assert {strike.fault for strike in strikes(1)} == set(Fault) == set(DEEDS)


def test_faults_stay_within_their_bounds() -> None:
    for strike in strikes(2):
        if strike.fault in FREEZES:
            assert FREEZE_MIN <= strike.lasts <= FREEZE_MAX
        if strike.fault is Fault.LOSS:
            assert 1 <= strike.amount <= LOSS_MAX
        if strike.target == WITNESS:
            assert strike.fault in FOR_WITNESS
        assert strike.other != strike.target


def test_freezes_are_short_as_often_as_long() -> None:
    lasting = sorted(strike.lasts for strike in strikes(3) if strike.fault in FREEZES)
    assert 0.5 < lasting[len(lasting) // 2] < 2.0


def test_some_faults_come_together() -> None:
    assert {len(episode.strikes) for episode in drawn(4)} == {1, 2, 3, 4}


def test_each_pause_has_its_resume() -> None:
    errands = [errand for episode in drawn(5) for errand in episode.errands]
    commands = [errand.command for errand in errands]
    assert commands.count("pause") == commands.count("resume") > 0
    assert {"switchover", "ping"} <= set(commands)
    assert {errand.via for errand in errands} == {HOT, STANDBY}


def test_without_a_witness_nothing_is_aimed_at_one() -> None:
    parts = {
        part
        for episode in drawn(6, has_witness=False)
        for strike in episode.strikes
        for part in (strike.target, strike.other)
    }
    assert parts == {HOT, STANDBY, ""}


def test_storm_kills_as_often_as_drawn() -> None:
    storm = next(strike for strike in strikes(1) if strike.fault is Fault.STORM)
    assert len(storm_deaths(storm)) == storm.amount - 1
    assert storm_deaths(storm) == sorted(storm_deaths(storm))
