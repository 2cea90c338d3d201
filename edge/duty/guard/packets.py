"""Frames that ask for an address and that announce one: ARP (RFC 826, 5227) and NDP (RFC 4861)."""

import struct

ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
ARP_REQUEST = 1
ARP_REPLY = 2
SOLICITATION = 135
ADVERTISEMENT = 136
ICMPV6 = 58
OVERRIDE = 0x20000000
TARGET_LINK_LAYER_ADDRESS = b"\x02\x01"  # option 2, one unit of 8 bytes
BROADCAST = b"\xff" * 6
NOBODY_4 = bytes(4)
NOBODY_6 = bytes(16)
ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
ARP_HEADER = struct.pack("!HHBB", 1, 0x0800, 6, 4)


def probe(mac: bytes, address: bytes) -> bytes:
    """Who has this address? Asked in nobody's name, so that no neighbour table changes by it."""
    if len(address) == 4:
        return _arp(ARP_REQUEST, mac, NOBODY_4, bytes(6), address)
    group = bytes.fromhex("ff0200000000000000000001ff") + address[-3:]
    return _ndp(mac, NOBODY_6, group, struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + address)


def announcements(mac: bytes, address: bytes) -> list[bytes]:
    """This address is here now. ARP says it as request and as answer: some only learn from one."""
    if len(address) == 4:
        kinds = (ARP_REQUEST, ARP_REPLY)
        return [_arp(kind, mac, address, BROADCAST, address) for kind in kinds]
    body = struct.pack("!BBHI", ADVERTISEMENT, 0, 0, OVERRIDE) + address
    return [_ndp(mac, address, ALL_NODES, body + TARGET_LINK_LAYER_ADDRESS + mac)]


def owner(frame: bytes, address: bytes) -> bytes | None:
    """The hardware address that this frame says the address belongs to, if it says so."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ETHERTYPE_ARP and len(address) == 4 and len(frame) >= 42:
        return frame[22:28] if frame[28:32] == address else None
    if kind != ETHERTYPE_IPV6 or len(address) != 16 or len(frame) < 78:
        return None
    is_advertisement = frame[20] == ICMPV6 and frame[54] == ADVERTISEMENT
    return frame[6:12] if is_advertisement and frame[62:78] == address else None


def readable(mac: bytes) -> str:
    return mac.hex(":")


def _arp(kind: int, mac: bytes, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    head = BROADCAST + mac + struct.pack("!H", ETHERTYPE_ARP)
    return head + ARP_HEADER + struct.pack("!H", kind) + mac + sender + target_mac + target


def _ndp(mac: bytes, source: bytes, target: bytes, body: bytes) -> bytes:
    """An ICMPv6 message in IPv6 in Ethernet; every receiver wants hop limit 255."""
    pseudo = source + target + struct.pack("!II", len(body), ICMPV6)
    body = body[:2] + _checksum(pseudo + body) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 255) + source + target
    multicast = b"\x33\x33" + target[-4:]
    return multicast + mac + struct.pack("!H", ETHERTYPE_IPV6) + header + body


def _checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
