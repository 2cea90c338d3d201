"""Topic names and filters: validation, matching, the subscription trie, the retained store.

Pure. Time grows with what matches, not with how much is stored: both stores are tries.
"""

from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar


class _HasTopic(Protocol):
    @property
    def topic(self) -> str: ...


Subscriber = TypeVar("Subscriber")
Value = TypeVar("Value")
Item = TypeVar("Item", bound=_HasTopic)


def is_valid_filter(topic_filter: str, most_levels: int) -> bool:
    """Whether somebody may subscribe to it: wildcards fill whole levels, `#` is the last one."""
    levels = topic_filter.split("/")
    if not topic_filter or len(levels) > most_levels or "#" in levels[:-1]:
        return False
    return all(len(level) == 1 or not ("#" in level or "+" in level) for level in levels)


def is_valid_topic(topic: str, most_levels: int) -> bool:
    """Whether somebody may publish to it: a filter without wildcards."""
    return is_valid_filter(topic, most_levels) and not ("#" in topic or "+" in topic)


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic that matches the filter `narrow` matches the filter `wide` too.

    A topic is a filter without wildcards, so this is also the match of a topic.
    """
    if narrow.startswith("$") and wide.startswith(("#", "+")):
        return False
    wide_levels, narrow_levels = wide.split("/"), narrow.split("/")
    if wide_levels[-1] == "#":
        wide_levels.pop()  # `a/#` matches `a`, too: what is left must only be a beginning
        if len(narrow_levels) < len(wide_levels):
            return False
    elif len(narrow_levels) != len(wide_levels):
        return False
    pairs = zip(wide_levels, narrow_levels, strict=False)
    return all(mine == other or (mine == "+" and other != "#") for mine, other in pairs)


class _Node(Generic[Subscriber, Value]):
    __slots__ = ("children", "subscribers")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Subscriber, Value]] = {}
        self.subscribers: dict[Subscriber, Value] = {}


class SubscriptionTrie(Generic[Subscriber, Value]):
    """Who subscribed to what, and how."""

    def __init__(self) -> None:
        self._root: _Node[Subscriber, Value] = _Node()

    def add(self, topic_filter: str, subscriber: Subscriber, value: Value) -> None:
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        node.subscribers[subscriber] = value

    def remove(self, topic_filter: str, subscriber: Subscriber) -> None:
        """Forget a subscription that was added, and every node that only it needed."""
        path = [(self._root, "")]
        for level in topic_filter.split("/"):
            path.append((path[-1][0].children[level], level))
        del path[-1][0].subscribers[subscriber]
        for (parent, _), (node, level) in zip(path[-2::-1], path[:0:-1], strict=True):
            if node.children or node.subscribers:
                return
            del parent.children[level]

    def match(self, topic: str) -> dict[Subscriber, list[Value]]:
        """Every subscriber of a topic, once, with the values of all its filters that match."""
        found: dict[Subscriber, list[Value]] = {}
        nodes = [self._root]
        takes_wildcards = not topic.startswith("$")
        for level in topic.split("/"):
            nodes = _descend(nodes, level, found, takes_wildcards=takes_wildcards)
            takes_wildcards = True
        for node in nodes:
            _collect(node, found)
            _collect(node.children.get("#"), found)
        return found

    def is_empty(self) -> bool:
        return not self._root.children


def _descend(
    nodes: list[_Node[Subscriber, Value]],
    level: str,
    found: dict[Subscriber, list[Value]],
    *,
    takes_wildcards: bool,
) -> list[_Node[Subscriber, Value]]:
    following = []
    for node in nodes:
        if child := node.children.get(level):
            following.append(child)
        if takes_wildcards:
            _collect(node.children.get("#"), found)
            if child := node.children.get("+"):
                following.append(child)
    return following


def _collect(node: _Node[Subscriber, Value] | None, found: dict[Subscriber, list[Value]]) -> None:
    if node is not None:
        for subscriber, value in node.subscribers.items():
            found.setdefault(subscriber, []).append(value)


class _Leaf(Generic[Item]):
    __slots__ = ("children", "item")

    def __init__(self) -> None:
        self.children: dict[str, _Leaf[Item]] = {}
        self.item: Item | None = None


# What a level of a topic costs that no other topic has.
LEAF_BYTES: Final = 300


class RetainedStore(Generic[Item]):
    """The last retained message of each topic, at most `most` that cost at most `most_bytes`."""

    def __init__(self, most: int, most_bytes: int, cost: Callable[[Item], int]) -> None:
        self._root: _Leaf[Item] = _Leaf()
        self._most = most
        self._most_bytes = most_bytes
        self._cost = cost
        self.count = 0
        self.bytes = 0

    def get(self, topic: str) -> Item | None:
        leaf: _Leaf[Item] | None = self._root
        for level in topic.split("/"):
            leaf = leaf.children.get(level) if leaf else None
        return leaf.item if leaf else None

    def put(self, item: Item, *, always: bool = False) -> bool:
        """Keep it; False if that is too much. Then its topic has none: an older one is no longer
        the last, and nothing is better than what is outdated."""
        leaf, added = self._root, 0
        for level in item.topic.split("/"):
            child = leaf.children.get(level)
            if child is None:
                child = leaf.children[level] = _Leaf()
                added += LEAF_BYTES
            leaf = child
        self._replace(leaf, item, added)
        if not always and (self.count > self._most or self.bytes > self._most_bytes):
            self.clear(item.topic)
            return False
        return True

    def _replace(self, leaf: _Leaf[Item], item: Item | None, added: int) -> None:
        old, leaf.item = leaf.item, item
        self.count += (item is not None) - (old is not None)
        self.bytes += added + (self._cost(item) if item else 0) - (self._cost(old) if old else 0)

    def clear(self, topic: str) -> None:
        if self.get(topic) is None:
            return
        path = [(self._root, "")]
        for level in topic.split("/"):
            path.append((path[-1][0].children[level], level))
        self._replace(path[-1][0], None, 0)
        for (parent, _), (leaf, level) in zip(path[-2::-1], path[:0:-1], strict=True):
            if leaf.children or leaf.item is not None:
                return
            del parent.children[level]
            self.bytes -= LEAF_BYTES

    def walk(self, topic_filter: str) -> Iterator[Item | None]:
        """What matches a filter, step by step, None for a step that found nothing.

        The store may change between two steps: what is stored at the moment of its step comes.
        """
        levels = topic_filter.split("/")
        stack = [(self._root, 0)]
        while stack:
            leaf, depth = stack.pop()
            if depth < len(levels):
                stack.extend(self._next_leaves(leaf, levels[depth], depth))
                yield leaf.item if levels[depth] == "#" else None
            else:
                yield leaf.item

    def _next_leaves(
        self, leaf: _Leaf[Item], level: str, depth: int
    ) -> Iterator[tuple[_Leaf[Item], int]]:
        """The leaves to look at next, last one first; wildcards do not match `$` at the start."""
        if level not in {"#", "+"}:
            child = leaf.children.get(level)
            return iter([(child, depth + 1)] if child else [])
        children = reversed(leaf.children.items())
        if leaf is self._root:
            children = reversed([each for each in leaf.children.items() if each[0][:1] != "$"])
        return iter([(child, depth + (level == "+")) for _, child in children])
