"""What the chosen members and policy mean, in plain words, before anything happens."""

from collections.abc import Iterable

from edge.commands.check_machine import Finding, Level
from edge.settings import Settings
from edge.settings.values import Policy


def policy_findings(settings: Settings) -> Iterable[Finding]:
    brokers = len(settings.members)
    majority = brokers // 2 + 1
    yield Finding(Level.NOTE, _consequence(settings, brokers, majority))
    if not settings.trust_will:
        lease = settings.timing.lease
        yield Finding(
            Level.NOTE, f"trust_will is off: also a crash costs a full lease ({lease:g} s)"
        )
    if brokers == 1:
        yield Finding(
            Level.WARNING,
            "there is one broker only: nothing can take over",
            "add a second [[node]] and a [[witness]]",
        )
    elif brokers > 2 and brokers % 2 == 0:
        yield Finding(
            Level.WARNING,
            f"{brokers} brokers survive the loss of {brokers - majority}, as {brokers - 1} would; "
            "and two halves cut from each other are both without a hot node",
            "add or remove one witness",
        )
    if all(node.priority == 0 for node in settings.nodes):
        yield Finding(
            Level.WARNING,
            "every node has priority 0: none becomes hot without an operator's order",
            "give at least one node a priority of 1 or more",
        )


def _consequence(settings: Settings, brokers: int, majority: int) -> str:
    lease = settings.timing.lease
    match settings.policy:
        case Policy.AVAILABILITY:
            return (
                'policy "availability": when one of the two nodes is gone, the other one goes on '
                "or takes over by itself while it reaches a reference; if both reach a reference "
                "but not each other, BOTH are hot until they meet again"
            )
        case Policy.SAFETY:
            return (
                'policy "safety": never two hot nodes; when one of the two brokers is gone nobody '
                "is hot until an operator says so with: edge promote --force"
            )
        case Policy.MAJORITY | Policy.WITNESS:
            return (
                f"a node is hot with {majority} of {brokers} brokers: the group survives the loss "
                f"of {brokers - majority}; a node that is cut off stops within {lease:g} s"
            )
