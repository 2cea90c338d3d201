"""What counts as a lost request."""

from tests.campaign.hand_made import Note, asked, calm, hot, made, says
from tests.campaign.history import History, Request, Response
from tests.campaign.ledger import Life
from tests.campaign.request_checks import (
    nobody_takes_over_while_paused,
    one_answer_each,
    pauses_are_kept,
    pauses_are_taken,
    pings_are_answered_by_the_owner,
    switchovers_happened,
)

PAUSED, RESUMED = (1, True), (2, False)


def with_request(history: History, *requests: tuple[Request, Response]) -> History:
    for request, response in requests:
        history.requests.append(request)
        history.responses.append(response)
    return history


def paused_at(*times: float) -> list[Note]:
    return [says(0), *(says(at, pause=PAUSED) for at in times)]


def test_acknowledged_switchover_happened() -> None:
    history = made(hot(1, 5, 1), hot(5.1, 9, 2))
    assert not switchovers_happened(
        with_request(history, asked("switchover", "white", 4.9, 5.2, hot="black"))
    )


def test_acknowledged_switchover_that_did_not_happen() -> None:
    history = made(hot(1, 9, 1))
    assert switchovers_happened(
        with_request(history, asked("switchover", "white", 4.9, 5.2, hot="black"))
    )


def test_acknowledged_pause_is_known_where_it_was_acknowledged() -> None:
    good = with_request(made(paused_at(5)), asked("pause", "white", 4.9, 5.1))
    assert not pauses_are_taken(good)
    bad = with_request(made(paused_at(6)), asked("pause", "white", 4.9, 5.1))
    assert pauses_are_taken(bad)


def test_acknowledged_pause_reaches_everybody() -> None:
    history = made(paused_at(5), paused_at(5.5))
    with_request(history, asked("pause", "white", 4.9, 5.1)).calms.append(calm(10, 15))
    assert not pauses_are_kept(history)


def test_pause_that_one_node_does_not_know_is_lost() -> None:
    history = made(paused_at(5), [says(0)])
    with_request(history, asked("pause", "white", 4.9, 5.1)).calms.append(calm(10, 15))
    assert len(pauses_are_kept(history)) == 2


def test_pause_that_a_restart_forgot_is_lost() -> None:
    white = [*paused_at(5), Life(7), says(7.5)]
    history = made(white, [Life(7), says(7.5)])
    with_request(history, asked("pause", "white", 4.9, 5.1)).calms.append(calm(10, 15))
    assert [each.text for each in pauses_are_kept(history)] == [
        "order (1, True) was acknowledged, in force are {'white': (0, False), 'black': (0, False)}"
    ]


def test_newer_order_replaces_a_pause() -> None:
    notes = [*paused_at(5), says(7, pause=RESUMED)]
    history = made(notes, notes)
    pause, resume = asked("pause", "white", 4.9, 5.1), asked("resume", "black", 6.9, 7.1)
    with_request(history, pause, resume).calms.append(calm(10, 15))
    assert not pauses_are_kept(history)


def test_two_orders_with_one_number_are_a_disagreement() -> None:
    history = made(paused_at(5), [says(0), says(5, pause=(1, False))])
    with_request(history, asked("pause", "white", 4.9, 5.1)).calms.append(calm(10, 15))
    assert pauses_are_kept(history)


def test_who_knows_of_a_pause_does_not_take_over() -> None:
    silent = [*paused_at(5), says(6, 7, 2, "silent", PAUSED)]
    ordered = [*paused_at(5), says(6, 7, 2, "switchover", PAUSED)]
    assert nobody_takes_over_while_paused(made(silent))
    assert not nobody_takes_over_while_paused(made(ordered))


def test_ping_is_answered_by_the_brokers_own_node() -> None:
    good = with_request(made(), asked("ping", "white", 1, 2, node="white"))
    assert not pings_are_answered_by_the_owner(good)
    bad = with_request(made(), asked("ping", "white", 1, 2, node="black"))
    assert pings_are_answered_by_the_owner(bad)


def test_one_answer_seen_twice_is_one_and_two_answers_are_two() -> None:
    history = with_request(made(), asked("ping", "white", 1, 2, node="white"))
    history.responses.append(history.responses[0])
    assert not one_answer_each(history)
    with_request(history, asked("ping", "white", 1, 2, node="black"))
    assert one_answer_each(history)
