"""What may lie between a socket and MQTT: TLS, websocket, or the one in the other.

Each layer is pure: bytes in, bytes out. `broker.server.layered_client` puts them on a socket.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LayerEnd:
    """Why nothing more comes through a layer; what came before still counts."""

    reason: str
    is_fault: bool  # of the client, as opposed to its good-bye


class Layer(Protocol):
    """One step. The socket's side is outside, MQTT's side is inside."""

    end: LayerEnd | None

    def receive(self, data: bytes) -> bytes:
        """What the client's bytes carry; nothing after `end` is set."""

    def wrap(self, data: bytes) -> bytes:
        """What has to go to the client: the layer's own answers, then our bytes."""

    def close(self, data: bytes) -> bytes:
        """Likewise, and the layer's good-bye, once."""
