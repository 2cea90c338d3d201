"""What each engine is known to do wrong: for operators, and for the tests that show it."""

from dataclasses import dataclass

from broker.settings import EngineName


@dataclass(frozen=True, slots=True)
class Defect:
    """Something that an engine is known to do wrong. `id` is the name of the test that shows it.

    What depends on the order of things that happen at once does not show in every run.
    """

    id: str
    sentence: str
    shows_always: bool = True


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
            shows_always=False,
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
