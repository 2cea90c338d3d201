"""The virtual addresses: probed, added with a lifetime, announced, kept there, removed.

The kernel itself removes an address that is no longer refreshed: neither a frozen nor a killed
guard leaves one for longer than a lifetime, which is the lease rounded up to whole seconds.
"""
# ruff: noqa: PTH123

import _socket as socket  # without the 0.4 MB of what socket adds
import errno
import math
import os
import time
from _collections_abc import Callable, Iterable

from edge.duty.guard import packets
from edge.duty.guard.loop import Loop, Timer
from edge.duty.guard.netlink import Address, Changes, Kernel, Link, parse
from edge.duty.guard.probe import Manner, Probe
from edge.duty.guard.small import suppress
from edge.duty.guard.wire import Wire

ANNOUNCED_AFTER = (0.0, 1.0, 5.0)
# The kernel ends a lifetime up to a fiftieth of a second early.
KERNEL_IS_EARLY = 0.05
# Whoever keeps removing an address does not make us spin.
PUT_BACK_AFTER = 0.05
NO_RIGHT = "the right is missing (root, or AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW)"

Then = Callable[[str], None]  # what is wrong, or nothing


class Held:
    """One address that we hold, or are about to."""

    __slots__ = (
        "address",
        "interface",
        "is_there",
        "kernel_until",
        "probe",
        "text",
        "then",
        "timers",
        "until",
    )

    def __init__(
        self, text: str, interface: str, address: Address, until: Callable[[], float], then: Then
    ) -> None:
        self.text = text
        self.then = then
        self.interface = interface
        self.address = address
        self.until = until
        self.is_there = False
        self.kernel_until = 0.0
        self.probe: Probe | None = None
        self.timers: list[Timer] = []

    def cancel(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers = []
        if self.probe is not None:
            self.probe.cancel()
            self.probe = None
            self.then("it was withdrawn while the network was asked")


class Addresses:
    """All addresses of one guard."""

    def __init__(self, loop: Loop, lifetime: int, manner: Manner) -> None:
        self._loop = loop
        self._lifetime = lifetime
        self._manner = manner
        self._kernel = Kernel()
        self._changes = Changes()
        self._held: dict[tuple[str, str], Held] = {}
        self._wires: dict[tuple[str, str], Wire] = {}
        loop.add(self._changes.fileno(), self._changed)

    def hold(self, text: str, interface: str, until: Callable[[], float], then: Then) -> None:
        """Until when it may be there is asked when it is added: a probe takes its time."""
        if (text, interface) in self._held:
            then("")
            return
        try:
            held = Held(text, interface, _address(text, interface), until, then)
            wire = self._wire(held)
        except OSError as error:
            then(_in_words(error, text))
            return

        def answered(mac: bytes | None) -> None:
            held.probe = None
            self._answered(held, mac)

        self._held[text, interface] = held
        if wire.is_ethernet and self._manner.probes:
            held.probe = Probe(self._loop, wire, held.address.packed, self._manner, answered)
        else:
            answered(None)

    def is_any_held(self) -> bool:
        return bool(self._held)

    def drop(self, text: str, interface: str) -> str:
        """What went wrong, or nothing."""
        held = self._held.pop((text, interface), None)
        return "" if held is None else self._remove(held)

    def remove_all(self) -> list[str]:
        """Everything at once, the last one held first; what could not be removed, in words."""
        held = [self._held.pop(key) for key in reversed(list(self._held))]
        return [why for why in map(self._remove, held) if why]

    def announce_all(self) -> None:
        """Who could not hear it before may hear it now."""
        for held in self._held.values():
            if held.is_there:  # it may also be about to be put back
                pending = [each for each in held.timers if each.call is not None]
                held.timers = pending + self._announcements(held)

    def refresh(self, until: float) -> None:
        """The deadline moved: the kernel may keep them for another lifetime."""
        for held in self._held.values():
            if held.is_there and until > held.kernel_until:
                with suppress(OSError):  # an interface that went: its coming back is news
                    lifetime = self._start_lifetime(held, until)
                    self._kernel.refresh(held.address, lifetime)

    def _answered(self, held: Held, mac: bytes | None) -> None:
        whose = f"another machine ({packets.readable(mac)}) answers for it" if mac else ""
        why = whose or self._take(held)
        if why:
            del self._held[held.text, held.interface]
        held.then(why)

    def _take(self, held: Held) -> str:
        """What went wrong, or nothing."""
        try:
            self._remove_others(held.address)
            is_added = self._add(held)
        except OSError as error:
            return _in_words(error, held.text)
        return "" if is_added else "the lease is over"

    def _add(self, held: Held) -> bool:
        """The last look at the clock comes just before: we may have been frozen until now."""
        _keep_the_others(held.interface)
        until = held.until()
        if time.monotonic() >= until:
            return False
        self._kernel.add(held.address, self._start_lifetime(held, until))
        held.is_there = True
        self._announce(held)
        return True

    def _remove_others(self, address: Address) -> None:
        """Somebody put it there with another prefix: that one would stay when ours goes, and two
        machines would answer for it."""
        for each in self._kernel.addresses():
            if _is_same(each, address) and each != address:
                self._kernel.remove(each)

    def _start_lifetime(self, held: Held, until: float) -> int:
        now = time.monotonic()
        lifetime = max(self._lifetime, math.ceil(min(until - now, 86_400)))
        held.kernel_until = now + lifetime - KERNEL_IS_EARLY
        return lifetime

    def _announce(self, held: Held) -> None:
        for timer in held.timers:
            timer.cancel()
        held.timers = self._announcements(held)

    def _announcements(self, held: Held) -> list[Timer]:
        """The first one now; those that follow."""

        def announce() -> None:
            with suppress(OSError):  # an interface that went: its coming back is news
                self._wire(held).announce(held.address.packed)

        announce()
        return [self._loop.after(each, announce) for each in ANNOUNCED_AFTER[1:]]

    def _wire(self, held: Held) -> Wire:
        """Kept when the address is dropped; an interface that came back needs another one."""
        key, index = (held.text, held.interface), held.address.index
        wire = self._wires.get(key)
        if wire is None or wire.index != index:
            self._wires[key] = Wire(held.interface, index, held.address.packed)
            if wire is not None:
                wire.close()
        return self._wires[key]

    def _remove(self, held: Held) -> str:
        held.cancel()
        if not held.is_there:
            return ""
        try:
            self._kernel.remove(held.address)
        except OSError as error:
            return f"{held.text} on {held.interface}: {_in_words(error, held.text)}"
        return ""

    def _changed(self) -> None:
        for news in self._changes.read():
            if isinstance(news, Address):
                self._put_back(each for each in self._held.values() if each.address == news)
            elif isinstance(news, Link):
                self._link_changed(news)
            else:
                self._put_back(self._held.values())

    def _link_changed(self, link: Link) -> None:
        """It may be a new interface of an old name; and a new cable leads to new neighbours."""
        if not link.is_running:
            return
        there = [each for each in self._held.values() if each.interface == link.name]
        for held in there:
            held.address = Address(held.address.packed, held.address.prefix, link.index)
        self._put_back(there)

    def _put_back(self, missing: Iterable[Held]) -> None:
        for held in missing:
            if held.is_there:
                self._put_back_soon(held)

    def _put_back_soon(self, held: Held) -> None:
        def put_back() -> None:
            with suppress(OSError):  # the interface went again: its coming back is news
                self._add(held)

        for timer in held.timers:
            timer.cancel()
        held.timers = [self._loop.after(PUT_BACK_AFTER, put_back)]


def sweep(addresses: list[tuple[str, str]]) -> list[str]:
    """Remove what an earlier life left, whatever its prefix; say what was there."""
    kernel = Kernel()
    try:
        there = kernel.addresses()
        return [
            f"{text} on {name}" for text, name in addresses if _clear(kernel, there, text, name)
        ]
    finally:
        kernel.close()


def _clear(kernel: Kernel, there: list[Address], text: str, interface: str) -> bool:
    """Whether it was there; on an interface that does not exist, nothing was left."""
    try:
        wanted = _address(text, interface)
    except OSError:
        return False
    left = [each for each in there if _is_same(each, wanted)]
    return sum(map(kernel.remove, left)) > 0  # each of them, not just the first


def _is_same(one: Address, other: Address) -> bool:
    return (one.packed, one.index) == (other.packed, other.index)


def _address(text: str, interface: str) -> Address:
    packed, prefix = parse(text)
    return Address(packed, prefix, socket.if_nametoindex(interface))


def _keep_the_others(interface: str) -> None:
    """Removing the first address of a subnet must not take the machine's own ones along."""
    with (
        suppress(OSError),
        open(f"/proc/sys/net/ipv4/conf/{interface}/promote_secondaries", "w") as file,
    ):
        file.write("1")


def _in_words(error: OSError, text: str) -> str:
    if error.errno in {errno.ENODEV, errno.ENXIO} or error.errno is None:
        names = ", ".join(sorted(name for _, name in socket.if_nameindex()))
        return f"there is no such interface; there is {names}"
    if error.errno == errno.EPERM:
        return NO_RIGHT
    if error.errno == errno.EACCES and ":" in text:
        return "IPv6 is switched off there"
    return os.strerror(error.errno or 0)
