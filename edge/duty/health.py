"""Is a process doing its work? One question, asked again and again; the answer is what is wrong."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import urlsplit

from edge.duty.ports import Spawn
from edge.duty.runner import Runner
from edge.settings.duty import Health
from edge.settings.values import split_address

# What a web server may say before the end of its first line, bytes.
STATUS_LINE_LIMIT = 4096

# When a topic's value changed last, by the loop's clock; None if it never did.
ChangedAt = Callable[[str], float | None]
# Empty when all is well. Asked with the instant at which the process was started.
Check = Callable[[float], Awaitable[str]]


def make_check(plan: Health, command: Spawn, runner: Runner, changed_at: ChangedAt) -> Check:
    """`command` is the program of a check by command: name, environment, user and folder."""
    if plan.topic is not None:
        return partial(_ask_topic, plan.topic, plan.max_age, changed_at)
    if plan.command is not None:
        return partial(_ask_command, runner, command, plan.timeout)
    if plan.http is not None:
        return partial(_limited, plan.timeout, partial(ask_http, plan.http))
    assert plan.tcp is not None, "the settings ask for exactly one question"
    host, port = split_address(plan.tcp)
    return partial(_limited, plan.timeout, partial(ask_tcp, host, port or 0))


async def _limited(limit: float, ask: Callable[[], Awaitable[str]], started_at: float) -> str:
    del started_at
    try:
        async with asyncio.timeout(limit):
            return await ask()
    except TimeoutError:
        return f"no answer within {limit:g} s"
    except (OSError, UnicodeError) as error:  # UnicodeError is an odd host name
        return printable_error(error)


def printable_error(error: OSError | UnicodeError) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0].lower()


async def ask_tcp(host: str, port: int) -> str:
    """A connection that is accepted, and closed at once."""
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return ""


async def ask_http(url: str) -> str:
    """A GET; an answer from 200 to 399 is well. Only the first line of it is read."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    context = ssl.create_default_context() if is_secure else None
    port = parts.port or (443 if is_secure else 80)
    reader, writer = await asyncio.open_connection(
        parts.hostname, port, ssl=context, limit=STATUS_LINE_LIMIT
    )
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.netloc.rpartition("@")[2]
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        writer.write(f"{request}User-Agent: edge\r\nAccept: */*\r\n\r\n".encode())
        return _judge(await _first_line(reader))
    finally:
        writer.close()


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # longer than the limit
        return b""


def _judge(line: bytes) -> str:
    status = re.fullmatch(rb"HTTP/\d(?:\.\d)? (\d{3})(?: .*)?", line.rstrip())
    if status is None:
        return "the answer is not HTTP"
    return "" if 200 <= int(status[1]) < 400 else f"HTTP status {int(status[1])}"


async def _ask_command(runner: Runner, command: Spawn, limit: float, started_at: float) -> str:
    del started_at
    outcome = await runner.run(command, limit)
    if outcome.problem and outcome.said:
        return f"the check {outcome.problem}: {outcome.said}"
    return f"the check {outcome.problem}" if outcome.problem else ""


async def _ask_topic(topic: str, max_age: float, changed_at: ChangedAt, started_at: float) -> str:
    """A change from before the start was another life's."""
    at, now = changed_at(topic), asyncio.get_running_loop().time()
    if at is None or at < started_at:
        return f"topic {topic} has not changed since the start"
    if now - at > max_age:
        return f"topic {topic} has not changed for {now - at:.0f} s"
    return ""
