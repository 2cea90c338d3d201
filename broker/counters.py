"""What the broker counts, in one object, for its log and its `$SYS` topics."""

from dataclasses import dataclass, field

from broker.refusals import Refusals


@dataclass(slots=True)
class Counters:
    """Totals since the start; the broker's parts write into it as things happen."""

    connected: int = 0  # clients now
    accepted: int = 0  # CONNECTs that were let in
    refused: int = 0  # CONNECTs that were not
    malformed: int = 0  # connections closed for what they sent
    timed_out: int = 0  # connections closed for what they did not send
    cut_off: int = 0  # connections closed because they did not read
    taken_over: int = 0  # connections closed because the client came back
    received: int = 0  # PUBLISH packets from clients
    sent: int = 0  # PUBLISH packets to clients
    denied: int = 0  # publishes and subscriptions that the access rules refused
    dropped: int = 0  # messages that found a full queue
    crowded: int = 0  # messages that found the queue of a connected client half full
    refusals: Refusals = field(default_factory=lambda: Refusals(lambda _: None))
