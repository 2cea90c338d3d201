"""Messages between agent and guard: their length, then the values as Python itself writes them.

Both ends are the same Python, so marshal's format is one; it needs no module, and what is read
comes from nobody but the other end of our own pipe.
"""

import marshal

TYPE_CHECKING = False  # typing itself would cost 0.6 MB of the memory that the guard may use
if TYPE_CHECKING:
    from typing import Any

Message = dict[str, "Any"]

HEAD = 4
LONGEST = 1024 * 1024


def pack(message: Message) -> bytes:
    body = marshal.dumps(message)
    return len(body).to_bytes(HEAD, "big") + body


def body_length(head: bytes | bytearray) -> int:
    return int.from_bytes(head[:HEAD], "big")


def unpack(body: bytes | bytearray) -> Message:
    message: Message = marshal.loads(body)  # noqa: S302 - from our own pipe, see above
    return message
