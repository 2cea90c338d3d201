"""One publisher of the flood: python -m benchmarks.flood ADDRESS NUMBER; ends by being killed.

Odd numbers publish at QoS 0 and are held back by TCP alone, even ones at QoS 1 with a window.
"""

import socket
import sys

from tests.lan import mqtt

BATCH = 100
PAYLOAD = b"x" * 64
RECEIVE_SIZE = 65536


def main() -> None:
    address, number = sys.argv[1], int(sys.argv[2])
    topic = f"application/{number}"
    connection = socket.create_connection((address, 1883))
    connection.sendall(mqtt.connect(f"flood-{number}", keepalive=0))
    assert connection.recv(4)[-1:] == b"\0", "refused"
    if number % 2:
        flood_at_most_once(connection, topic)
    else:
        flood_at_least_once(connection, topic)


def flood_at_most_once(connection: socket.socket, topic: str) -> None:
    batch = mqtt.publish(topic, PAYLOAD) * BATCH
    while True:
        connection.sendall(batch)


def flood_at_least_once(connection: socket.socket, topic: str) -> None:
    numbers = range(1, BATCH + 1)
    batch = b"".join(mqtt.publish(topic, PAYLOAD, number=number) for number in numbers)
    while True:
        connection.sendall(batch)
        missing = 4 * BATCH
        while missing > 0:
            received = len(connection.recv(RECEIVE_SIZE))
            assert received, "the broker closed the connection"
            missing -= received


if __name__ == "__main__":
    main()
