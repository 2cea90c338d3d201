"""The few lines of rtnetlink that the guard needs: add, remove, list addresses; hear of changes.

A library would cost more memory than the whole guard may use (docs/decisions/0104).
"""

import _socket as socket  # without the 0.4 MB of what socket adds
import errno
import os
import struct
from _collections_abc import Iterator

NEW_LINK, DEL_LINK = 16, 17
NEW_ADDRESS, DEL_ADDRESS, GET_ADDRESS = 20, 21, 22
ERROR, DONE = 2, 3
REQUEST, ACKNOWLEDGE, DUMP = 0x1, 0x4, 0x300
REPLACE, CREATE, EXCLUSIVE = 0x100, 0x400, 0x200
GROUPS = 0x1 | 0x10 | 0x100  # changes of links, of IPv4 and of IPv6 addresses
ADDRESS, LOCAL, CACHE_INFO = 1, 2, 6
NO_DUPLICATE_DETECTION = 0x02
RUNNING = 0x40
INTERFACE_NAME = 3

HEADER = struct.Struct("=IHHII")
ADDRESS_HEADER = struct.Struct("=BBBBI")
LINK_HEADER = struct.Struct("=BxHiII")


class Address:
    """An address as the kernel knows it."""

    __slots__ = ("index", "packed", "prefix")

    def __init__(self, packed: bytes, prefix: int, index: int) -> None:
        self.packed = packed
        self.prefix = prefix
        self.index = index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> tuple[bytes, int, int]:
        return self.packed, self.prefix, self.index


class Link:
    """An interface that appeared, changed or went."""

    __slots__ = ("index", "is_running", "name")

    def __init__(self, name: str, index: int, is_running: bool) -> None:  # noqa: FBT001 - a value
        self.name = name
        self.index = index
        self.is_running = is_running


def parse(text: str) -> tuple[bytes, int]:
    """Address and prefix length of "192.168.2.50/24"; without one it is the address alone."""
    address, _, prefix = text.partition("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    return packed, int(prefix) if prefix else len(packed) * 8


class Kernel:
    """A socket for requests, each answered before the call returns (some 50 microseconds)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def add(self, address: Address, lifetime: int) -> bool:
        """Put it there for so many seconds. False if it was there already."""
        try:
            self._request(NEW_ADDRESS, CREATE | EXCLUSIVE, _address(address, lifetime))
        except FileExistsError:
            self.refresh(address, lifetime)
            return False
        return True

    def refresh(self, address: Address, lifetime: int) -> None:
        self._request(NEW_ADDRESS, REPLACE, _address(address, lifetime))

    def remove(self, address: Address) -> bool:
        """False if it, or its interface, was not there."""
        try:
            self._request(DEL_ADDRESS, 0, _address(address, None))
        except OSError as error:
            if error.errno not in {errno.EADDRNOTAVAIL, errno.ENODEV}:
                raise
            return False
        return True

    def addresses(self) -> list[Address]:
        self._send(GET_ADDRESS, DUMP, ADDRESS_HEADER.pack(0, 0, 0, 0, 0))
        found: list[Address] = []
        while True:
            for kind, body in _messages(self._socket.recv(65536)):
                if kind == DONE:
                    return found
                if kind == NEW_ADDRESS:
                    found.append(_read_address(body))

    def close(self) -> None:
        self._socket.close()

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        self._send(kind, flags | ACKNOWLEDGE, body)
        for answer, content in _messages(self._socket.recv(65536)):
            code = struct.unpack_from("=i", content)[0] if answer == ERROR else 0
            if code:
                raise OSError(-code, os.strerror(-code))

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        length = HEADER.size + len(body)
        head = HEADER.pack(length, kind, flags | REQUEST, self._sequence, 0)
        self._socket.send(head + body)


class Changes:
    """A socket that tells of every change of links and addresses."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, GROUPS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> list[Address | Link | None]:
        """Addresses that went, links that appeared or changed; None if some news were lost."""
        news: list[Address | Link | None] = []
        try:
            for kind, body in _messages(self._socket.recv(65536)):
                if kind == DEL_ADDRESS:
                    news.append(_read_address(body))
                elif kind == NEW_LINK:
                    news.append(_read_link(body))
        except BlockingIOError:
            return news
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            news.append(None)
        return news

    def close(self) -> None:
        self._socket.close()


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= HEADER.size:
        length, kind = HEADER.unpack_from(data)[:2]
        yield kind, data[HEADER.size : length]
        data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return struct.pack("=HH", len(value) + 4, kind) + value + padding


def _address(address: Address, lifetime: int | None) -> bytes:
    """IPv6 without duplicate address detection: it would take a second, and we have just asked."""
    is_four = len(address.packed) == 4
    family = socket.AF_INET if is_four else socket.AF_INET6
    flags = 0 if is_four else NO_DUPLICATE_DETECTION
    body = ADDRESS_HEADER.pack(family, address.prefix, flags, 0, address.index)
    body += _attribute(LOCAL, address.packed) + _attribute(ADDRESS, address.packed)
    if lifetime is not None:
        body += _attribute(CACHE_INFO, struct.pack("=IIII", lifetime, lifetime, 0, 0))
    return body


def _read_address(body: bytes) -> Address:
    _family, prefix, _flags, _scope, index = ADDRESS_HEADER.unpack_from(body)
    found = _attributes(body[ADDRESS_HEADER.size :])
    return Address(found.get(LOCAL) or found.get(ADDRESS, b""), prefix, index)


def _read_link(body: bytes) -> Link:
    _family, _kind, index, flags, _change = LINK_HEADER.unpack_from(body)
    name = _attributes(body[LINK_HEADER.size :]).get(INTERFACE_NAME, b"")
    return Link(name.rstrip(b"\0").decode(), index, bool(flags & RUNNING))
