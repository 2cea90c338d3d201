"""What may be published to and subscribed to, before a broker is asked."""

import pytest

from edge.client.topics import check_filter, check_topic


@pytest.mark.parametrize("text", ["a", "a/b", "/", "a b/\u00fc", "x" * 65535])
def test_good_topics_are_good_filters_as_well(text: str) -> None:
    check_topic(text)
    check_filter(text)


@pytest.mark.parametrize("text", ["", "a/#", "+", "a\0b", "\ud800", "x" * 65536, "$SYS/x", "a\nb"])
def test_bad_topics(text: str) -> None:
    with pytest.raises(ValueError, match="no topic"):
        check_topic(text)


@pytest.mark.parametrize("text", ["#", "+", "a/#", "+/b/+", "$SYS/#"])
def test_good_filters(text: str) -> None:
    check_filter(text)


@pytest.mark.parametrize("text", ["", "#/a", "a#", "a/b+", "a/#/b", "a\0", "\ud800"])
def test_bad_filters(text: str) -> None:
    with pytest.raises(ValueError, match="filter"):
        check_filter(text)
