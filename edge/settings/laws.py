"""What must hold between the values of a group file, beyond each value on its own.

One function per law. The reasons are in docs/protocol.md; each refusal names the key, the
value, what is wrong and what would be right.
"""

import ipaddress
import math
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.settings import EngineName
from edge.settings.broker_laws import BROKER_LAWS
from edge.settings.duty_laws import DUTY_LAWS
from edge.settings.refusals import LawBrokenError, Refusal
from edge.settings.values import Policy, split_address

if TYPE_CHECKING:
    from edge.settings import Settings


def check_laws(settings: "Settings") -> None:
    """Raise LawBrokenError for the first law that does not hold."""
    for law in LAWS:
        refusal = law(settings)
        if refusal is not None:
            raise LawBrokenError(refusal)


def _names_are_unique(settings: "Settings") -> Refusal | None:
    for name, count in Counter(settings.members).items():
        if count > 1:
            key = ("node" if name in {each.name for each in settings.node} else "witness", "name")
            return Refusal(key, name, f"is used {count} times; give each node and witness its own")
    return None


def _addresses_are_unique(settings: "Settings") -> Refusal | None:
    owners: dict[tuple[str, int], str] = {}
    every = ((name, each) for name in settings.members for each in settings.endpoints(name))
    for name, endpoint in every:
        if endpoint in owners:
            kind = ("witness", "address") if settings.is_witness(name) else ("node", "addresses")
            return Refusal(
                (kind[0], name, kind[1]),
                "{}:{}".format(*endpoint),
                f"is already an address of {owners[endpoint]}; "
                "every broker needs its own host or port",
            )
        owners[endpoint] = name
    return None


def _policy_fits_the_number_of_brokers(settings: "Settings") -> Refusal | None:
    brokers = len(settings.members)
    two_only = settings.policy in {Policy.AVAILABILITY, Policy.SAFETY}
    if brokers == 2:
        return None if two_only else _two_brokers_need_a_choice(settings)
    if two_only:
        return Refusal(
            ("policy",),
            settings.policy,
            f"is for exactly two brokers and here {_are(brokers)}; leave it out, "
            "a majority of the brokers decides",
        )
    if settings.policy is Policy.WITNESS and brokers < 3:
        return Refusal(
            ("policy",),
            settings.policy,
            f"needs at least three brokers and here {_are(brokers)}; add nodes or a [[witness]]",
        )
    return None


def _are(brokers: int) -> str:
    return "is 1" if brokers == 1 else f"are {brokers}"


def _two_brokers_need_a_choice(settings: "Settings") -> Refusal:
    chosen = "policy" in settings.model_fields_set
    return Refusal(
        ("policy",),
        settings.policy if chosen else None,
        "cannot decide between exactly two brokers; add a [[witness]], or write "
        '"availability" (automatic, needs [netcheck], two hot nodes are possible) or '
        '"safety" (an operator promotes)',
    )


def _heartbeat_fits_the_lease(settings: "Settings") -> Refusal | None:
    timing = settings.timing
    if timing.heartbeat <= timing.lease / 4:
        return None
    return Refusal(
        ("timing", "heartbeat"),
        timing.heartbeat,
        f"is more than a quarter of the lease ({timing.lease:g} s); "
        f"at most {timing.lease / 4:g}, or a longer timing.lease",
    )


def _keepalive_outlasts_the_lease(settings: "Settings") -> Refusal | None:
    """The will of a node that has only gone silent must not come before its lease is over."""
    timing = settings.timing
    claim_after = 1.1 * timing.lease + 0.02
    if 1.5 * timing.keepalive > claim_after:
        return None
    return Refusal(
        ("timing", "keepalive"),
        timing.keepalive,
        f"lets brokers publish a silent node's will before its lease ({timing.lease:g} s) is over; "
        f"at least {math.floor(claim_after / 1.5) + 1}",
    )


def _netcheck_interval_is_shorter(settings: "Settings") -> Refusal | None:
    netcheck = settings.netcheck
    if netcheck.interval < netcheck.timeout:
        return None
    return Refusal(
        ("netcheck", "interval"),
        netcheck.interval,
        f"is not shorter than netcheck.timeout ({netcheck.timeout:g} s); "
        f"write {min(0.25, netcheck.timeout / 4):g}",
    )


def _availability_has_a_reference(settings: "Settings") -> Refusal | None:
    netcheck = settings.netcheck
    if settings.policy is not Policy.AVAILABILITY or netcheck.ping or netcheck.tcp:
        return None
    return Refusal(
        ("netcheck", "ping"),
        None,
        'is needed by policy "availability", a node must be able to tell that it is cut off '
        'itself; name the router: ping = ["192.168.2.1"]',
    )


def _availability_stops_within_the_lease(settings: "Settings") -> Refusal | None:
    lease = settings.timing.lease
    if settings.policy is not Policy.AVAILABILITY or settings.netcheck.timeout <= lease:
        return None
    return Refusal(
        ("netcheck", "timeout"),
        settings.netcheck.timeout,
        f'is longer than the lease ({lease:g} s), with policy "availability" a node that is cut '
        f"off must stop within it; at most {lease:g}, or leave it out",
    )


def _availability_asks_often_enough(settings: "Settings") -> Refusal | None:
    """An answer is believed for lease - heartbeat; the next one must come before that."""
    lasts = settings.timing.lease - settings.timing.heartbeat
    if settings.policy is not Policy.AVAILABILITY or settings.netcheck.interval < lasts / 2:
        return None
    return Refusal(
        ("netcheck", "interval"),
        settings.netcheck.interval,
        f'is too long for policy "availability", where an answer is believed for {lasts:g} s; '
        f"write {lasts / 3:.2g}, or leave it out",
    )


def _references_are_outside_the_group(settings: "Settings") -> Refusal | None:
    if settings.policy is not Policy.AVAILABILITY:
        return None
    endpoints = {pair for node in settings.node for pair in settings.node_endpoints(node.name)}
    hosts = {host for host, _ in endpoints}
    for kind, texts in (("ping", settings.netcheck.ping), ("tcp", settings.netcheck.tcp)):
        for text in texts:
            host, port = split_address(text)
            # Nodes that share one machine, for trying out, are told apart by their ports alone.
            same = (host, port) in endpoints if port and _is_loopback(host) else host in hosts
            if same:
                return Refusal(
                    ("netcheck", kind),
                    text,
                    "is a node of the group, a reference must be something else; "
                    "name the router or another machine that is always on",
                )
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _user_names_are_free(settings: "Settings") -> Refusal | None:
    names = [each.name for each in settings.access.user]
    for name in names:
        if name in settings.members:
            return Refusal(
                ("access", "user", "name"),
                name,
                "is the name of a node or witness; choose another for the user",
            )
        if names.count(name) > 1:
            return Refusal(
                ("access", "user", "name"), name, "is there twice; keep one of the two entries"
            )
    return None


def _mosquitto_knows_the_hashes(settings: "Settings") -> Refusal | None:
    if settings.broker.engine is not EngineName.MOSQUITTO:
        return None
    for user in settings.access.user:
        if user.password_hash.startswith("$argon2"):
            return Refusal(
                ("access", "user", user.name, "password_hash"),
                "$argon2...",
                "cannot be checked by mosquitto; make one with: edge password --engine mosquitto",
            )
    return None


LAWS: tuple[Callable[["Settings"], Refusal | None], ...] = (
    _names_are_unique,
    _addresses_are_unique,
    _policy_fits_the_number_of_brokers,
    _heartbeat_fits_the_lease,
    _keepalive_outlasts_the_lease,
    _netcheck_interval_is_shorter,
    _availability_has_a_reference,
    _availability_stops_within_the_lease,
    _availability_asks_often_enough,
    _references_are_outside_the_group,
    _user_names_are_free,
    _mosquitto_knows_the_hashes,
    *BROKER_LAWS,
    *DUTY_LAWS,
)
