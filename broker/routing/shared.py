"""Shared subscriptions: each message goes to one of the members. Pure."""

from typing import TYPE_CHECKING

from broker.routing.lane import Delivery
from broker.routing.messages import Message

if TYPE_CHECKING:
    from broker.routing.session import Session
    from broker.routing.subscriptions import Grant


class SharedGroup:
    """The members of one share name and filter, the one whose turn it is first.

    `text` is what they subscribed to.
    """

    __slots__ = ("members", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.members: dict[Session, Grant] = {}

    def deliver(self, message: Message, qos: int, *, retain: bool) -> bool:
        """To whom can take it soonest, in turns among equals; False if nobody may have it."""
        session = self._pick(message.topic, qos)
        if session is None:
            return False
        grant = self.members.pop(session)
        self.members[session] = grant  # the others are first now
        keeps = retain and grant.keeps_retain and session.terms.is_5
        granted = min(qos, grant.qos)
        session.deliver_any(Delivery(message, granted, keeps, grant.identifiers, self))
        return True

    def _pick(self, topic: str, qos: int) -> "Session | None":
        best, lowest = None, 3
        for session, grant in self.members.items():
            rank = session.readiness(min(qos, grant.qos))
            if rank < lowest and session.identity.role.may_read(topic):
                best, lowest = session, rank
                if not rank:
                    break
        return best
