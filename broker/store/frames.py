"""Transactions in a file, so that a torn or damaged one is found and the next ones are, too. Pure.

A frame is a mark, a length, a checksum and the transaction. The mark and the start of each checksum
are drawn anew for each file, and the checksum covers the place in the file: what a client sends
never looks like a frame of ours, wherever the search for the next whole one begins.
"""

import struct
from typing import Final, NamedTuple
from zlib import crc32

_MAGIC: Final = b"edge\x00\x01\r\n"
_IDENTITY: Final = struct.Struct("<8s4sII")
# The identity stands there twice, because without it nothing else can be read.
HEADER_SIZE: Final = 2 * _IDENTITY.size
_HEAD: Final = struct.Struct("<4sII")
_PLACE: Final = struct.Struct("<QI")


class Identity(NamedTuple):
    """What is drawn for each file: its mark, four bytes, and where its checksums start."""

    mark: bytes
    seed: int


class Scan(NamedTuple):
    """What was found: whole transactions, ranges [start, end) that are none, where to go on.

    Zeros at the end are room that was set aside, and no damage.
    """

    transactions: list[bytes]
    damaged: list[tuple[int, int]]
    end: int


def header(identity: Identity) -> bytes:
    checksum = crc32(identity.mark, identity.seed)
    return 2 * _IDENTITY.pack(_MAGIC, identity.mark, identity.seed, checksum)


def read_header(data: bytes) -> Identity | None:
    """None if both copies are damaged, or of another version."""
    for start in (0, _IDENTITY.size):
        if start + _IDENTITY.size <= len(data):
            magic, mark, seed, checksum = _IDENTITY.unpack_from(data, start)
            if magic == _MAGIC and checksum == crc32(mark, seed):
                return Identity(mark, seed)
    return None


def frame(identity: Identity, place: int, transaction: bytes) -> bytes:
    """The frame of a transaction that will stand at this place of its file."""
    size = len(transaction)
    checksum = _checksum(identity, place, transaction)
    return _HEAD.pack(identity.mark, size, checksum) + transaction


def scan(data: bytes) -> Scan:
    """Every whole frame of a file, also behind damage."""
    identity = read_header(data)
    if identity is None:
        return Scan([], [(0, len(data))] if data else [], len(data))
    transactions, damaged = [], []
    if data[:HEADER_SIZE] != header(identity):
        damaged.append((0, HEADER_SIZE))
    place = HEADER_SIZE
    while place < len(data):
        transaction = _read(identity, data, place)
        if transaction is not None:
            transactions.append(transaction)
            place += _HEAD.size + len(transaction)
            continue
        start, place = place, _next_whole(identity, data, place + 1)
        if place == len(data) and not data[start:].strip(b"\0"):
            return Scan(transactions, damaged, start)
        damaged.append((start, place))
    return Scan(transactions, damaged, place)


def _read(identity: Identity, data: bytes, place: int) -> bytes | None:
    start = place + _HEAD.size
    if start > len(data):
        return None
    mark, size, checksum = _HEAD.unpack_from(data, place)
    if mark != identity.mark or start + size > len(data):
        return None
    transaction = data[start : start + size]
    return transaction if _checksum(identity, place, transaction) == checksum else None


def _next_whole(identity: Identity, data: bytes, place: int) -> int:
    """Where the next whole frame begins, or the end."""
    while True:
        place = data.find(identity.mark, place)
        if place < 0:
            return len(data)
        if _read(identity, data, place) is not None:
            return place
        place += 1


def _checksum(identity: Identity, place: int, transaction: bytes) -> int:
    return crc32(transaction, crc32(_PLACE.pack(place, len(transaction)), identity.seed))
