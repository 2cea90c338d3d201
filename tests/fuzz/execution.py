"""One execution of the fuzzer, from its seed: what happens, what is checked, what is left."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from random import Random
from types import FrameType
from typing import Final

from broker.protocol.codec import decode, encode
from broker.protocol.fields import PacketError
from broker.protocol.framing import Incoming
from broker.protocol.packets import MQTT_3_1, MQTT_3_1_1, MQTT_5, Connect
from tests.fuzz.checks import check_bounds, check_nothing_is_left
from tests.fuzz.client import require
from tests.fuzz.packets import Maker
from tests.fuzz.world import Step, World, draw_steps

# CPU seconds after which an execution, which takes some milliseconds, counts as a hang.
HANG: Final = 60.0
VERSIONS: Final = (MQTT_3_1, MQTT_3_1_1, MQTT_5)
# One execution in so many is about the codec and the framing alone.
CODEC_SHARE: Final = 4


class HangError(Exception):
    """An execution does not come to an end."""


def execute(seed: int, number: int) -> None:
    """Raise whatever is wrong with this one."""
    random = Random(f"{seed}/{number}")
    if number % CODEC_SHARE == 0:
        _execute_codec(random)
    else:
        execute_steps(draw_steps(random), is_small=number % 5 != 0)


def steps_of(seed: int, number: int) -> list[Step]:
    """What happens in an execution that is more than codec."""
    return draw_steps(Random(f"{seed}/{number}")) if number % CODEC_SHARE else []


def execute_steps(steps: list[Step], *, is_small: bool) -> None:
    world = World(is_small=is_small)
    for step in steps:
        world.run(step)
        check_bounds(world)
    world.leave()
    check_nothing_is_left(world)


@contextmanager
def bounded_time() -> Iterator[None]:
    """CPU time, so that a busy machine makes no hangs."""

    def on_alarm(_: int, frame: FrameType | None) -> None:
        raise HangError(f"still in {frame.f_code.co_name if frame else '?'}")

    before = signal.signal(signal.SIGVTALRM, on_alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _execute_codec(random: Random) -> None:
    maker = Maker(random)
    version = random.choice(VERSIONS)
    stream = b"".join(_some_bytes(maker, version) for _ in range(20))
    for each in _taken(stream, len(stream)):
        _check_round_trip(each, version)
    for _ in range(20):
        _check_round_trip(_some_bytes(maker, version), version)
    require(_taken(stream, len(stream)) == _taken(stream, 7), "cuts change no packet")


def _some_bytes(maker: Maker, version: int) -> bytes:
    choice = maker.random.random()
    if choice < 0.2:
        return maker.noise()
    packet = maker.packet(version) if choice < 0.9 else replace(maker.connect(), version=version)
    data = maker.data(packet, version)
    return maker.mutated(data) if maker.random.random() < 0.6 else data


def _check_round_trip(data: bytes, version: int) -> None:
    """Bytes are refused in one way, or mean a packet whose own bytes mean the same."""
    with suppress(PacketError):
        packet = decode(data, version)
        spoken = packet.version if isinstance(packet, Connect) else version
        require(decode(encode(packet, spoken), spoken) == packet, "a packet survives its encoding")


def _taken(stream: bytes, size: int) -> list[bytes]:
    """The packets of a stream that comes in pieces, up to the first that is none."""
    incoming, found = Incoming(), []
    with suppress(PacketError):
        for start in range(0, len(stream), size or 1):
            incoming.feed(stream[start : start + size])
            while incoming.has_bytes() and (taken := incoming.take(5000)):
                first, begin, end = taken
                found.append(_framed(first, incoming.data[begin:end]))
    return found


def _framed(first: int, body: bytes) -> bytes:
    size = len(body)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((first, *length, size)) + body
