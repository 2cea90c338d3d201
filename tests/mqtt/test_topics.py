"""Filters, the subscription trie and the retained store, against a slow and obvious model."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol.topics import RetainedStore, SubscriptionTrie, covers, is_valid_filter
from tests.mqtt.strategies import filters, topics


def matches(topic_filter: str, topic: str) -> bool:
    """The specification's text, level by level."""
    if topic.startswith("$") and topic_filter[0] in "#+":
        return False
    wanted, given_levels = topic_filter.split("/"), topic.split("/")
    while wanted and given_levels and wanted[0] in {"+", given_levels[0]}:
        wanted.pop(0)
        given_levels.pop(0)
    return wanted == ["#"] or wanted == given_levels == []


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("#", "a", True),
        ("#", "$SYS/a", False),
        ("+/a", "$SYS/a", False),
        ("$SYS/#", "$SYS/a", True),
        ("a/#", "a", True),
        ("a/#", "ab", False),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+", "/a", False),
        ("+/+", "/a", True),
        ("a/+/c", "a/b/c", True),
        ("a/b", "a/b/c", False),
        ("a/b/#", "a", False),
    ],
)
def test_examples(topic_filter: str, topic: str, expected: bool) -> None:
    assert covers(topic_filter, topic) is expected
    assert matches(topic_filter, topic) is expected


@given(filters, topics)
def test_covers_a_topic_when_it_matches(topic_filter: str, topic: str) -> None:
    assert covers(topic_filter, topic) == matches(topic_filter, topic)


@given(filters, filters, st.lists(topics, max_size=20))
def test_a_filter_that_covers_another_matches_all_that_it_matches(
    wide: str, narrow: str, some: list[str]
) -> None:
    if covers(wide, narrow):
        assert all(matches(wide, topic) for topic in some if matches(narrow, topic))


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("#", "#", True),
        ("#", "a/+/#", True),
        ("#", "$SYS/#", False),
        ("a/#", "#", False),
        ("a/#", "a/#", True),
        ("a/#", "a/b/#", True),
        ("a/b/#", "a/#", False),
        ("a/+", "a/#", False),
        ("a/+", "a/+", True),
        ("a/b", "a/+", False),
        ("+/b", "a/b", True),
        ("+/b", "+/+", False),
    ],
)
def test_filters_that_cover_filters(wide: str, narrow: str, expected: bool) -> None:
    assert covers(wide, narrow) is expected


@pytest.mark.parametrize("text", ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b#", "a/" * 64 + "a"])
def test_invalid_filters(text: str) -> None:
    assert not is_valid_filter(text, 64)


@pytest.mark.parametrize("text", ["#", "+", "/", "a//b", "+/+/#", "$SYS/#", "a/" * 63 + "a"])
def test_valid_filters(text: str) -> None:
    assert is_valid_filter(text, 64)


@given(
    st.dictionaries(st.tuples(filters, st.integers(0, 5)), st.integers(0, 2), max_size=12),
    topics,
    st.data(),
)
def test_the_trie_finds_what_matches(
    subscriptions: dict[tuple[str, int], int], topic: str, data: st.DataObject
) -> None:
    trie: SubscriptionTrie[int, int] = SubscriptionTrie()
    for (topic_filter, who), qos in subscriptions.items():
        trie.add(topic_filter, who, qos)
    for key in data.draw(st.sets(st.sampled_from(sorted(subscriptions)))) if subscriptions else ():
        trie.remove(*key)
        del subscriptions[key]
    expected: dict[int, int] = {}
    for (topic_filter, who), qos in subscriptions.items():
        if matches(topic_filter, topic):
            expected[who] = max(qos, expected.get(who, 0))
    assert {who: max(qos) for who, qos in trie.match(topic).items()} == expected


@given(st.sets(st.tuples(filters, st.integers(0, 3)), max_size=12))
def test_the_trie_keeps_nothing_of_what_was_removed(
    subscriptions: set[tuple[str, int]],
) -> None:
    trie: SubscriptionTrie[int, int] = SubscriptionTrie()
    for key in subscriptions:
        trie.add(*key, 0)
    for key in subscriptions:
        trie.remove(*key)
    assert trie.is_empty()


@dataclass(frozen=True, slots=True)
class Kept:
    topic: str
    value: int = 0


def _cost(kept: Kept) -> int:
    return kept.value


@given(st.lists(st.tuples(topics, st.booleans()), max_size=20), filters)
def test_the_retained_store_hands_out_what_matches(
    changes: list[tuple[str, bool]], topic_filter: str
) -> None:
    store: RetainedStore[Kept] = RetainedStore(100, 1_000_000, _cost)
    model: dict[str, Kept] = {}
    for number, (topic, is_set) in enumerate(changes):
        if is_set:
            model[topic] = Kept(topic, number)
            assert store.put(model[topic])
        else:
            model.pop(topic, None)
            store.clear(topic)
    assert store.count == len(model)
    found = [each for each in store.walk(topic_filter) if each is not None]
    expected = [each for topic, each in model.items() if matches(topic_filter, topic)]
    assert sorted(found, key=str) == sorted(expected, key=str)
    assert all(store.get(topic) == model.get(topic) for topic, _ in changes)


def test_a_full_retained_store_refuses_new_topics_and_keeps_old_ones() -> None:
    store: RetainedStore[Kept] = RetainedStore(1, 1_000_000, _cost)
    assert store.put(Kept("a"))
    assert not store.put(Kept("b"))
    assert store.put(Kept("a", 2))
    assert store.put(Kept("b"), always=True)
    assert not store.put(Kept("a", 3))
    assert store.get("a") is None
    store.clear("b")
    assert store.put(Kept("a", 4))


@given(st.lists(st.tuples(topics, st.integers(0, 1000)), max_size=20))
def test_a_retained_store_keeps_within_its_bytes(changes: list[tuple[str, int]]) -> None:
    """What does not fit leaves nothing behind, not even what was there before."""
    store: RetainedStore[Kept] = RetainedStore(100, 3000, _cost)
    for topic, value in changes:
        was_kept = store.put(Kept(topic, value))
        assert store.bytes <= 3000
        assert store.get(topic) == (Kept(topic, value) if was_kept else None)
    for topic, _ in changes:
        store.clear(topic)
    assert store.count == store.bytes == 0
    assert not store._root.children


def test_a_walk_bears_changes_between_its_steps() -> None:
    store: RetainedStore[Kept] = RetainedStore(100, 1_000_000, _cost)
    for number in range(5):
        store.put(Kept(f"a/{number}"))
    walk = store.walk("#")
    first = next(each for each in walk if each is not None)
    store.clear("a/3")
    store.put(Kept("a/4", 1))
    assert first == Kept("a/0")
    assert [each for each in walk if each] == [Kept("a/1"), Kept("a/2"), Kept("a/4", 1)]
