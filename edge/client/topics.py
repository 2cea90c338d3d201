"""What MQTT allows as a topic and as a filter; a wrong one would cost the connection. Pure."""

TEXT_MAX = 65535


def check_topic(topic: str) -> None:
    """ValueError for what cannot be published to."""
    if not _is_text(topic) or "+" in topic or "#" in topic or topic.startswith("$"):
        raise ValueError(f"{topic[:80]!r} is no topic to publish to")


def check_filter(text: str) -> None:
    """ValueError for what cannot be subscribed to."""
    levels = text.split("/")
    is_good = all(each in {"+", "#"} or not {"+", "#"} & set(each) for each in levels)
    if not _is_text(text) or not is_good or "#" in levels[:-1]:
        raise ValueError(f"{text[:80]!r} is no topic filter")


def _is_text(text: str) -> bool:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= TEXT_MAX and not any(ord(each) < 32 or ord(each) == 127 for each in text)
