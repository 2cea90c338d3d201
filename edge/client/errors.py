"""What the client raises; each text is one line that says what is wrong and what to do."""


class GroupError(Exception):
    """The group cannot be followed as asked."""


class UnreachableGroupError(GroupError):
    """No broker of the list let us in, or none of them knows the group."""


class AmbiguousGroupError(GroupError):
    """A broker knows several groups and the caller named none."""


class RefusedError(GroupError):
    """A broker does not grant a subscription."""


class ClosedError(GroupError):
    """The connection was closed with messages that no broker has acknowledged."""
