"""What a duty process or hook is told about the node: variables, and lines for instances."""

from dataclasses import dataclass

import orjson

from edge.core.model import Role


@dataclass(frozen=True, slots=True)
class Identity:
    group: str
    node: str


@dataclass(frozen=True, slots=True)
class Situation:
    """The node's role, the term in which it has it (the fencing token), and why."""

    role: Role
    term: int
    reason: str = ""


def variables(identity: Identity, situation: Situation) -> dict[str, str]:
    """The part of the environment that docs/duty.md promises."""
    return {
        "EDGE_GROUP": identity.group,
        "EDGE_NODE": identity.node,
        "EDGE_TERM": str(situation.term),
        "EDGE_ROLE": situation.role.value,
        "EDGE_REASON": situation.reason,
    }


def role_line(situation: Situation) -> str:
    """What an instance reads on its standard input at each change."""
    return orjson.dumps({"role": situation.role.value, "term": situation.term}).decode()
