"""The broker's own topics, `$SYS/broker/...`, named as mosquitto names them: retained, published
only when they changed."""

import math
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.routing.counters import Counters, Stock
from broker.routing.router import Router

INTERVAL: Final = 10.0
# The spans of moving averages, seconds.
SPANS: Final = {"1min": 60.0, "5min": 300.0, "15min": 900.0}


class Statistics:
    """Publishes the router's counters; the shell goes through `steps` every INTERVAL seconds."""

    def __init__(self, router: Router, version: str, now: float) -> None:
        self._router = router
        self._version = version
        self._started_at = now
        self._load = Load(now)
        self._published: dict[str, str] = {}

    def steps(self, now: float) -> Iterator[None]:
        """Others are to get their turns between two of them; the last one publishes."""
        for stock in self._router.take_stock():
            if stock is None:
                yield
            else:
                self._publish(stock, now)

    def _publish(self, stock: Stock, now: float) -> None:
        for name, value in self._values(stock, now).items():
            if self._published.get(name) != value:
                self._published[name] = value
                self._router.publish_own(f"$SYS/broker/{name}", value.encode())

    def _values(self, stock: Stock, now: float) -> dict[str, str]:
        counters = self._router.counters
        self._load.update(loads(counters), now)
        whole = {
            **totals(counters, stock),
            **memory(),
            **{f"limits/{limit}": count for limit, count in counters.refusals.counts.items()},
        }
        return {
            "version": self._version,
            "uptime": f"{now - self._started_at:.0f} seconds",
            **{name: str(value) for name, value in whole.items()},
            **{name: f"{value:.2f}" for name, value in self._load.averages.items()},
        }


class Load:
    """How much happened per minute: averages in which the past fades as in those of Unix."""

    def __init__(self, now: float) -> None:
        self.averages: dict[str, float] = {}
        self._updated_at = now
        self._last: dict[str, int] = {}

    def update(self, counts: dict[str, int], now: float) -> None:
        elapsed, self._updated_at = now - self._updated_at, now
        for name, count in counts.items():
            per_minute = (count - self._last.get(name, 0)) * 60.0 / elapsed if elapsed > 0 else 0.0
            for span, seconds in SPANS.items():
                key = f"load/{name}/{span}"
                kept = math.exp(-elapsed / seconds)
                self.averages[key] = per_minute + kept * (self.averages.get(key, 0.0) - per_minute)
        self._last = counts


def loads(counters: Counters) -> dict[str, int]:
    """What has an average."""
    return {
        "sockets": counters.opened,
        "connections": counters.connects,
        "messages/received": counters.packets_received,
        "messages/sent": counters.packets_sent,
        "publish/received": counters.received,
        "publish/sent": counters.sent,
        "publish/dropped": counters.dropped,
        "bytes/received": counters.bytes_received,
        "bytes/sent": counters.bytes_sent,
    }


def totals(counters: Counters, stock: Stock) -> dict[str, int]:
    return {
        "clients/connected": counters.connected,
        "clients/active": counters.connected,
        "clients/disconnected": stock.away,
        "clients/inactive": stock.away,
        "clients/total": counters.connected + stock.away,
        "clients/maximum": counters.most_connected,
        "clients/expired": counters.expired,
        "clients/refused": counters.refused + counters.malformed,
        "messages/received": counters.packets_received,
        "messages/sent": counters.packets_sent,
        "messages/dropped": counters.dropped,
        "messages/stored": stock.messages,
        "publish/messages/received": counters.received,
        "publish/messages/sent": counters.sent,
        "publish/messages/dropped": counters.dropped,
        "bytes/received": counters.bytes_received,
        "bytes/sent": counters.bytes_sent,
        "subscriptions/count": stock.subscriptions,
        "shared_subscriptions/count": stock.shared_subscriptions,
        "retained messages/count": stock.retained,
        "store/messages/count": stock.messages,
        "store/messages/bytes": stock.bytes,
    }


def memory() -> dict[str, int]:
    """Resident bytes of the process, now and at most."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    current = pages * resource.getpagesize()
    return {"heap/current": current, "heap/maximum": max(most, current)}
