"""Is it me who is cut off? Asks the references outside the group, by ping or TCP.

Pings use the kernel's unprivileged ICMP sockets where it allows them, else raw ones (root).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from icmplib import async_ping
from icmplib.exceptions import ICMPLibError


class NetworkCheck:
    """Asks every reference each `interval` seconds and waits as long for an answer.

    One answer is enough. `pings` are hosts, `endpoints` hosts with ports.
    """

    def __init__(
        self,
        pings: tuple[str, ...],
        endpoints: tuple[tuple[str, int], ...],
        interval: float,
    ) -> None:
        self._questions: list[Callable[[], Awaitable[bool]]] = [
            *(partial(ping, host, interval) for host in pings),
            *(partial(connects, host, port, interval) for host, port in endpoints),
        ]
        self._interval = interval

    async def run(self, tell: Callable[[bool], None]) -> None:
        """Tell the outcome of every round, until cancelled."""
        loop = asyncio.get_running_loop()
        while self._questions:
            next_at = loop.time() + self._interval
            tell(await self._anybody_answers())
            await asyncio.sleep(next_at - loop.time())

    async def _anybody_answers(self) -> bool:
        """True as soon as the first one answers; the others are not waited for."""
        tasks = [asyncio.ensure_future(question()) for question in self._questions]
        try:
            for first in asyncio.as_completed(tasks):
                if await first:
                    return True
            return False
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def ping(host: str, timeout: float) -> bool:  # noqa: ASYNC109  passed on to the library
    """One echo request. False also where the kernel grants no ICMP socket: see `edge check`."""
    for privileged in (False, True):
        with suppress(ICMPLibError, OSError, UnicodeError):
            answer = await async_ping(host, count=1, timeout=timeout, privileged=privileged)
            return bool(answer.is_alive)
    return False


async def connects(host: str, port: int, timeout: float) -> bool:  # noqa: ASYNC109
    """A TCP connection, closed at once. A refusal is no answer: a firewall says it too."""
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, UnicodeError):  # TimeoutError is an OSError; UnicodeError is an odd name
        return False
    writer.close()
    return True
