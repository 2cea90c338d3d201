"""Frames on one interface: send some, hear what answers. Raw, so CAP_NET_RAW is needed."""

import _socket as socket  # without the 0.4 MB of what socket adds

from edge.duty.guard import packets
from edge.duty.guard.small import suppress

ETHERNET = 1
LONGEST = 256
BATCH = 32
# The kernel's usual room for what was not read yet, and its smallest.
ROOM, NO_ROOM = 212_992, 0


class Wire:
    """A raw socket on an interface, for the protocol that asks for such an address.

    To be kept: the kernel closes one only after every processor has passed a quiet moment, which
    takes 16 ms or more, and the guard cannot be away for so long.
    """

    def __init__(self, interface: str, index: int, packed: bytes) -> None:
        self.index = index
        kind = packets.ETHERTYPE_ARP if len(packed) == 4 else packets.ETHERTYPE_IPV6
        raw = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_PACKET, raw, 0)
        try:
            self._socket.bind((interface, kind))
            self.is_ethernet = self._is_ethernet()
        except OSError:
            self._socket.close()
            raise
        self.stop_listening()

    @property
    def mac(self) -> bytes:
        """Asked each time: it can be changed."""
        return bytes(self._socket.getsockname()[4])

    def announce(self, packed: bytes) -> None:
        if self.is_ethernet:
            for frame in packets.announcements(self.mac, packed):
                self.send(frame)

    def listen(self) -> None:
        """To what comes from now on."""
        self.hear()
        self._make_room(ROOM)

    def stop_listening(self) -> None:
        """The two or three frames that still find a place cost nothing."""
        self._make_room(NO_ROOM)

    def send(self, frame: bytes) -> None:
        """Lost if the cable is out or the queue is full; whoever needs certainty asks again.

        That the interface was down for a while is told once, instead of sending: not to us.
        """
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
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

    def _is_ethernet(self) -> bool:
        *_, hardware, mac = self._socket.getsockname()
        return bool(hardware == ETHERNET and len(mac) == 6)

    def _make_room(self, size: int) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
