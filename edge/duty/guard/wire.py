"""Frames on one interface: send some, hear what answers. Raw, so CAP_NET_RAW is needed."""

import _socket as socket  # without the 0.4 MB of what socket adds

from edge.duty.guard.packets import ETHERTYPE_ARP, ETHERTYPE_IPV6
from edge.duty.guard.small import suppress

ETHERNET = 1
LONGEST = 256
BATCH = 32


class Wire:
    """A raw socket on an interface, for the protocol that asks for such an address."""

    def __init__(self, interface: str, packed: bytes) -> None:
        kind = ETHERTYPE_ARP if len(packed) == 4 else ETHERTYPE_IPV6
        raw = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, raw, 0)
        try:
            self._socket.bind((interface, kind))
            *_, hardware, mac = self._socket.getsockname()
        except OSError:
            self._socket.close()
            raise
        self.mac = bytes(mac)
        self.is_ethernet = hardware == ETHERNET and len(self.mac) == 6

    def send(self, frame: bytes) -> None:
        """Lost if the cable is out or the queue is full; whoever needs certainty asks again."""
        with suppress(OSError):
            self._socket.send(frame)

    def hear(self) -> list[bytes]:
        """At most a batch of frames, without waiting."""
        frames: list[bytes] = []
        with suppress(OSError):
            while len(frames) < BATCH:
                frames.append(self._socket.recv(LONGEST))
        return frames

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()
