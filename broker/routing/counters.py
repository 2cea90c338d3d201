"""What the broker counts, in one object, for its log and its `$SYS` topics."""

from dataclasses import dataclass, field

from broker.admission.refusals import Refusals


@dataclass(slots=True)
class Counters:
    """Totals since the start; the broker's parts write into it as things happen."""

    opened: int = 0  # connections, whoever was behind them
    connects: int = 0  # CONNECT packets
    connected: int = 0  # clients now
    most_connected: int = 0
    expired: int = 0  # sessions that ended while their client was away
    accepted: int = 0  # CONNECTs that were let in
    refused: int = 0  # CONNECTs that were not
    malformed: int = 0  # connections closed for what they sent
    timed_out: int = 0  # connections closed for what they did not send
    cut_off: int = 0  # connections closed because they did not read
    taken_over: int = 0  # connections closed because the client came back
    packets_received: int = 0
    packets_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    received: int = 0  # PUBLISH packets from clients
    sent: int = 0  # PUBLISH packets to clients
    denied: int = 0  # publishes and subscriptions that the access rules refused
    dropped: int = 0  # messages that found a full queue
    crowded: int = 0  # messages that found the queue of a connected client half full
    overtaken: int = 0  # messages that came before a client that fell behind had caught up
    refusals: Refusals = field(default_factory=lambda: Refusals(lambda _: None))

    def note_connected(self) -> None:
        """Another client was let in."""
        self.accepted += 1
        self.connected += 1
        self.most_connected = max(self.most_connected, self.connected)


@dataclass(frozen=True, slots=True)
class Stock:
    """What the broker holds at one moment."""

    away: int  # sessions without a connection
    subscriptions: int
    shared_subscriptions: int
    retained: int
    messages: int  # retained, waiting, or under way
    bytes: int  # what those that are retained or wait cost
