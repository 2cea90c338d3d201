"""Messages to and from the agent. Nothing here ever waits: a frozen agent must not freeze us."""

import os
from _collections_abc import Callable

from edge.duty.guard import frames
from edge.duty.guard.frames import Message
from edge.duty.guard.loop import Loop

# Output of processes stops being passed on first; answers are dropped only far later.
OUTPUT_BUFFER = 64 * 1024
BUFFER = 1024 * 1024


class Channel:
    """What comes on standard input to `on_message`, its end to `on_end`; and answers back."""

    def __init__(
        self,
        loop: Loop,
        descriptors: tuple[int, int],
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._in, self._out = descriptors
        self._on_message = on_message
        self._on_end = on_end
        self._received = bytearray()
        self._to_send = bytearray()
        self._is_open = True
        self._is_waiting = False
        for each in descriptors:
            os.set_blocking(each, False)
        loop.add(self._in, self._read)

    def say(self, **message: object) -> None:
        """To the agent, as soon as it reads."""
        self._queue(message, BUFFER)

    def say_if_room(self, **message: object) -> bool:
        """For what may be lost; False if it was."""
        return self._queue(message, OUTPUT_BUFFER)

    def _queue(self, message: Message, limit: int) -> bool:
        frame = frames.pack(message)
        if not self._is_open or len(self._to_send) + len(frame) > limit:
            return False
        self._to_send += frame
        self._write()
        return True

    def _write(self) -> None:
        try:
            written = os.write(self._out, self._to_send)
        except BlockingIOError:
            written = 0
        except OSError:  # nobody reads any more
            self._end()
            return
        del self._to_send[:written]
        self._wait_to_write(wanted=bool(self._to_send))

    def _wait_to_write(self, *, wanted: bool) -> None:
        if wanted and not self._is_waiting:
            self._loop.add(self._out, self._write, to_write=True)
        elif self._is_waiting and not wanted:
            self._loop.remove(self._out)
        self._is_waiting = wanted

    def _read(self) -> None:
        try:
            data = os.read(self._in, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._received += data
        is_sound = self._take_all()
        if not data or not is_sound:
            self._end()

    def _take_all(self) -> bool:
        """Every message that is complete; False for one so long that it cannot be our agent's."""
        while len(self._received) >= frames.HEAD:
            length = frames.body_length(self._received)
            if length > frames.LONGEST:
                return False
            end = frames.HEAD + length
            if len(self._received) < end:
                break
            body = bytes(self._received[frames.HEAD : end])
            del self._received[:end]
            self._on_message(frames.unpack(body))
        return True

    def _end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._wait_to_write(wanted=False)
            self._loop.remove(self._in)
            self._on_end()
