"""Sends requests as an operator's program would: connected for one message, from outside."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import orjson

from tests.campaign.history import Request
from tests.lan import mqtt
from tests.lan.group import OUTSIDER
from tests.lan.groupfile import GROUP, PORT
from tests.lan.harness import Host

PATIENCE = 2.0


@dataclass(slots=True)
class Client:
    """One thread for each request, because a broker may be out of reach. They end by themselves."""

    hosts: dict[str, Host]
    requests: list[Request] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def send(self, command: str, via: str, to: str = "") -> Request:
        transaction = f"{command}-{len(self.requests) + 1}"
        request = Request(time.monotonic(), command, via, to, transaction)
        self.requests.append(request)
        thread = threading.Thread(target=self._deliver, args=(request,), daemon=True)
        thread.start()
        self.threads.append(thread)
        return request

    def close(self) -> None:
        for thread in self.threads:
            thread.join()

    def _deliver(self, request: Request) -> None:
        """At QoS 1; whether it arrived is told by the response alone."""
        payload = {"transaction": request.transaction} | ({"to": request.to} if request.to else {})
        topic = f"edge/{GROUP}/request/{request.command}"
        with suppress(OSError), self.hosts[OUTSIDER].namespace.socket() as connection:
            connection.settimeout(PATIENCE)
            connection.connect((self.hosts[request.via].address, PORT))
            connection.sendall(mqtt.connect(f"client-{request.transaction}"))
            connection.recv(4)
            connection.sendall(mqtt.publish(topic, orjson.dumps(payload), number=1))
            connection.recv(4)
            connection.sendall(mqtt.DISCONNECT)
