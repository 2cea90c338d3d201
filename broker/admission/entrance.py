"""Who may be connected: places for clients, and others for those who are still to say who they
are. Pure.

Silence shuts nobody out: when the places of strangers are taken, the one that has been silent for
longest goes. Nor does a guessed password: those whose password is being checked have places of
their own. Roles without limits need no place.
"""

from ipaddress import ip_address, ip_network
from typing import Final, Protocol

from broker.admission.access import CompiledRole, Refusal
from broker.admission.refusals import Limit, Refusals
from broker.protocol.reasons import ReasonCode
from broker.settings import Limits

# Connections beyond those of clients, so that whoever speaks is heard, and told why if refused.
STRANGERS: Final = 64
# Connections whose password is being checked, which takes long on purpose.
CHECKED: Final = 128
# Bits of an IPv6 address that are its network's: whoever has one address has all of that.
NETWORK_BITS: Final = 64


class Newcomer(Protocol):
    """A connection."""

    @property
    def address(self) -> str: ...

    def give_way(self) -> None:
        """It has said nothing so far, and others want to: end."""


class Entrance:
    def __init__(self, limits: Limits, refusals: Refusals) -> None:
        self._most = limits.connections
        self._most_per_address = limits.connections_per_address
        self._refusals = refusals
        self._strangers: dict[Newcomer, None] = {}  # those that came first, first
        self._checked: set[Newcomer] = set()
        self._places: dict[Newcomer, str] = {}
        self._by_address: dict[str, int] = {}

    def knock(self, newcomer: Newcomer) -> None:
        """A connection that has not said anything. There is always a stranger to give way."""
        if len(self._strangers) + len(self._places) >= self._most + STRANGERS:
            oldest = next(iter(self._strangers))
            self._refusals.note(
                Limit.CONNECTIONS, oldest.address, "closed without a CONNECT, to make room"
            )
            oldest.give_way()
        self._strangers[newcomer] = None

    def check(self, newcomer: Newcomer) -> Refusal | None:
        """It says who it is; whether that is true takes a while."""
        self._strangers.pop(newcomer, None)
        if len(self._checked) >= CHECKED:
            self._refusals.note(
                Limit.CONNECTIONS, newcomer.address, "refused, too many passwords wait for a check"
            )
            return Refusal(ReasonCode.SERVER_BUSY, "too many passwords wait for a check")
        self._checked.add(newcomer)
        return None

    def enter(self, newcomer: Newcomer, role: CompiledRole, *, replaces: bool) -> Refusal | None:
        """It is who it says. One that `replaces` its own older connection needs no free place."""
        self._strangers.pop(newcomer, None)
        self._checked.discard(newcomer)
        if role.unlimited:
            return None
        address = self._origin(newcomer.address)
        here = self._by_address.get(address, 0)
        refusal = None if replaces else self._objection(address, here)
        if refusal is None:
            self._places[newcomer] = address
            self._by_address[address] = here + 1
        return refusal

    def leave(self, newcomer: Newcomer) -> None:
        """It ended, wherever it had come to."""
        self._strangers.pop(newcomer, None)
        self._checked.discard(newcomer)
        address = self._places.pop(newcomer, None)
        if address is None:
            return
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def _origin(self, address: str) -> str:
        """What counts as one address."""
        if not self._most_per_address or ":" not in address:
            return address
        return str(ip_network((ip_address(address.partition("%")[0]), NETWORK_BITS), strict=False))

    def _objection(self, address: str, here: int) -> Refusal | None:
        if len(self._places) >= self._most:
            self._refusals.note(Limit.CONNECTIONS, address, "refused, the broker is full")
            return Refusal(ReasonCode.SERVER_BUSY, "too many connections")
        if 0 < self._most_per_address <= here:
            self._refusals.note(
                Limit.CONNECTIONS_PER_ADDRESS, address, "refused, it has too many connections"
            )
            return Refusal(ReasonCode.QUOTA_EXCEEDED, "too many connections from this address")
        return None
