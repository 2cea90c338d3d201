"""The three methods behind which every broker of the group hides, and what keeps one running.

An engine runs the broker in a child process, so that application traffic never shares the
agent's event loop, and so that a broker that dies takes nothing with it. The child dies with its
parent, also when the parent is killed with SIGKILL. Starting it again is the work of `supervise`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from broker.settings import EngineName

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0


class EngineError(Exception):
    """The broker cannot run. The text is one line for an operator: what is wrong, what to do."""


class Engine(Protocol):
    """A broker that can be started, stopped and watched. One life each: start once, stop once."""

    async def start(self) -> None:
        """Return when clients can connect on every listener, or raise EngineError."""

    async def stop(self) -> None:
        """Return when the process is gone and its ports are free. Safe to call at any time."""

    async def failed(self) -> str:
        """Wait until the broker ends by itself; return why, in one line. Not after a stop."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that an engine is known to do wrong. `id` is the name of the test that shows it.

    What depends on the order of things that happen at once does not show in every run.
    """

    id: str
    sentence: str
    shows_always: bool = True


async def supervise(
    make_engine: Callable[[], Engine],
    *,
    on_started: Callable[[], None],
    on_failed: Callable[[str], None],
) -> NoReturn:
    """Keep a broker running until cancelled, and stop it then.

    `on_started` is called whenever clients can connect (again), `on_failed` with one line for
    every end and every vain restart. Only the first start may fail for good: its EngineError is
    the operator's business and is raised to the caller.
    """
    pause = FIRST_PAUSE
    has_started = False
    while True:
        engine = make_engine()
        started_at = asyncio.get_running_loop().time()
        try:
            await engine.start()
            has_started = True
            on_started()
            reason = await engine.failed()
        except EngineError as error:
            if not has_started:
                raise
            reason = str(error)
        finally:
            await engine.stop()
        on_failed(reason)
        # A broker that served for a while did not fail because of the way it was started.
        if asyncio.get_running_loop().time() - started_at > LONGEST_PAUSE:
            pause = FIRST_PAUSE
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def known_defects(name: EngineName) -> tuple[Defect, ...]:
    """What the named engine is known to do wrong, for operators (`edge check`) and for tests."""
    return _DEFECTS[name]


_DEFECTS: dict[EngineName, tuple[Defect, ...]] = {
    EngineName.EMBEDDED: (),
    EngineName.MOSQUITTO: (
        Defect(
            "a_connection_that_says_nothing_is_closed",
            "mosquitto closes a connection that never introduces itself only after 90 s",
        ),
    ),
    EngineName.AMQTT: (
        Defect(
            "will_after_silence",
            "amqtt never publishes the will of a client whose packets just stop: a node that is "
            "cut off or frozen is found by its lease time only",
        ),
        Defect("mqtt_5", "amqtt knows MQTT 3.1.1 only: a client that speaks MQTT 5 is refused"),
        Defect(
            "acknowledged_messages_survive_the_disconnect",
            "amqtt loses messages that it has acknowledged when their sender disconnects at once",
        ),
        Defect(
            "a_crowd_reconnects_while_topics_are_retained",
            "amqtt drops some of the clients that connect while others subscribe, when it has "
            "retained messages to hand out",
            shows_always=False,
        ),
        Defect(
            "nothing_retained_without_subscription",
            "amqtt sends every client that connects the retained messages that others have "
            "subscribed to, also those that it may not read",
        ),
        Defect(
            "rules_hold_for_delivery",
            "amqtt hands out retained messages that the reader may not read when the "
            "subscription is wider than the rule that forbids them",
        ),
        Defect(
            "wrong_password_touches_nobody",
            "amqtt gives a client's place to whoever uses its client id, before it looks at the "
            "password: the rightful client receives nothing any more",
        ),
        Defect(
            "a_taken_over_session_goes_on",
            "amqtt delivers nothing to a client that takes over its own session, as after a "
            "reconnect that is quicker than the loss of the old connection",
        ),
        Defect(
            "messages_wait_for_a_client_that_is_away",
            "amqtt hands out messages that waited for a client in an order of its own",
            shows_always=False,
        ),
        Defect(
            "quality_is_the_lower_of_published_and_subscribed",
            "amqtt delivers everything at the quality of the subscription: more "
            "acknowledgements than asked for",
        ),
        Defect(
            "a_packet_over_the_limit_closes_its_connection",
            "amqtt has no limit for the size of a packet: one client can exhaust the memory",
        ),
        Defect(
            "a_subscriber_that_does_not_read",
            "amqtt has no bound for what waits for a slow subscriber: it can exhaust the memory",
        ),
        Defect(
            "a_connection_that_says_nothing_is_closed",
            "amqtt never closes a connection that does not introduce itself",
        ),
    ),
}
