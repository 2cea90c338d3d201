"""The broker's own topics, `$SYS/broker/...`: few, retained, published only when they changed."""

from typing import Final

from broker.router import Router

INTERVAL: Final = 10.0


class Statistics:
    """Publishes the router's counters; the shell calls `publish` every INTERVAL seconds."""

    def __init__(self, router: Router, version: str, now: float) -> None:
        self._router = router
        self._version = version
        self._started_at = now
        self._published: dict[str, str] = {}

    def publish(self, now: float) -> None:
        for name, value in self._values(now).items():
            if self._published.get(name) != value:
                self._published[name] = value
                self._router.publish_own(f"$SYS/broker/{name}", value.encode())

    def _values(self, now: float) -> dict[str, str]:
        counters = self._router.counters
        return {
            "version": self._version,
            "uptime": f"{now - self._started_at:.0f} seconds",
            "clients/connected": str(counters.connected),
            "clients/refused": str(counters.refused + counters.malformed),
            "messages/received": str(counters.received),
            "messages/sent": str(counters.sent),
            "messages/dropped": str(counters.dropped),
        }
