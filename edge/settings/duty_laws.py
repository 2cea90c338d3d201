"""What must hold between `[duty]` and the rest of a group file. One function per law."""

import ipaddress
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from edge.settings.duty import RunOn
from edge.settings.refusals import Refusal
from edge.settings.values import Watchdog

if TYPE_CHECKING:
    from edge.settings import Settings


def _process_names_are_unique(settings: "Settings") -> Refusal | None:
    names = [each.name for each in settings.duty.process]
    for name in names:
        if names.count(name) > 1:
            return Refusal(
                ("duty", "process", "name"),
                name,
                f"is used {names.count(name)} times; give each process its own",
            )
    return None


def _addresses_are_unique(settings: "Settings") -> Refusal | None:
    seen = set()
    for each in settings.duty.address:
        address = ipaddress.ip_interface(each.address).ip
        if address in seen:
            return Refusal(
                ("duty", "address", "address"),
                each.address,
                "is there twice; one interface of a node can have it, remove the other entry",
            )
        seen.add(address)
    return None


def _addresses_are_nobodys_own(settings: "Settings") -> Refusal | None:
    """An address that moves and one that stays: the group would lose a node with each failover."""
    own = {
        host: node.name for node in settings.node for host, _ in settings.node_endpoints(node.name)
    } | {settings.witness_endpoint(each.name)[0]: each.name for each in settings.witness}
    for each in settings.duty.address:
        address = str(ipaddress.ip_interface(each.address).ip)
        if address in own:
            return Refusal(
                ("duty", "address", "address"),
                each.address,
                f"is the address of {own[address]} itself; choose one that no machine has",
            )
    return None


def _addresses_can_be_had(settings: "Settings") -> Refusal | None:
    for each in settings.duty.address:
        interface = ipaddress.ip_interface(each.address)
        address, network = interface.ip, interface.network
        is_alone = network.prefixlen >= network.max_prefixlen - 1
        is_end = address.version == 4 and address in {network[0], network[-1]} and not is_alone
        is_special = address.is_multicast or address.is_loopback or address.is_unspecified
        if is_end or is_special or address.is_reserved:
            return Refusal(
                ("duty", "address", "address"),
                each.address,
                "is not an address that one machine can have for others; choose a free one of "
                "the network",
            )
    return None


def _watchdog_resets_in_time(settings: "Settings") -> Refusal | None:
    """A reset must come before anybody else is hot: within `claim_after`, by whole seconds."""
    lease, timeout = settings.timing.lease, settings.watchdog_timeout
    if settings.watchdog is not Watchdog.REQUIRED or timeout <= 1.06 * lease:
        return None
    return Refusal(
        ("watchdog",),
        settings.watchdog.value,
        f"cannot be kept: devices count whole seconds, {timeout} s is longer than the lease of "
        f"{lease:g} s; use a lease of {timeout} s, or write auto",
    )


def _grace_fits_the_lease(settings: "Settings") -> Refusal | None:
    """The rest of the lease is for renewals that come late: SIGTERM must not go out for one."""
    lease = settings.timing.lease
    if settings.duty.grace <= lease / 2:
        return None
    return Refusal(
        ("duty", "grace"),
        settings.duty.grace,
        f"is more than half of the lease ({lease:g} s), processes would be stopped for one late "
        f"renewal; at most {lease / 2:g}, or a longer timing.lease",
    )


def _starting_fits_the_phase(settings: "Settings") -> Refusal | None:
    limit = settings.timing.starting_to_hot
    for place, key, value in _start_limits(settings):
        if value > limit:
            return Refusal(
                ("duty", *place, key),
                value,
                f"is longer than timing.starting_to_hot ({limit:g} s), after which the lease is "
                f"given back; at most {limit:g}, or a longer starting_to_hot",
            )
    return None


def _start_limits(settings: "Settings") -> Iterator[tuple[tuple[str, ...], str, float]]:
    for process in settings.duty.process:
        if process.run_on is RunOn.HOT or process.instance:
            yield ("process", process.name), "start_timeout", process.start_timeout
    for number, hook in enumerate(settings.duty.hook, 1):
        yield ("hook", f"#{number}"), "timeout", hook.timeout


DUTY_LAWS: tuple[Callable[["Settings"], Refusal | None], ...] = (
    _process_names_are_unique,
    _addresses_are_unique,
    _addresses_are_nobodys_own,
    _addresses_can_be_had,
    _grace_fits_the_lease,
    _watchdog_resets_in_time,
    _starting_fits_the_phase,
)
