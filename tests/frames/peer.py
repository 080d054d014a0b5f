"""The Python library `websockets` as a client of a server: plays sessions that come on standard input, one after the other.

{"url": "ws://127.0.0.1:8000/connection/websocket", "sessions": [{"name": ..., "protocol": ..., "steps": [...]}]}

What each session saw is printed as one line of JSON. The steps are described in scenario.rs; bytes are hexadecimal.
"""

import json
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PATIENCE = 20.0


class Session:
    def __init__(self, socket):
        self.socket = socket
        self.received = []
        self.pings = []

    def ping(self, payload):
        self.pings.append((payload, self.socket.ping(bytes.fromhex(payload))))

    def send(self, parts, text, ping):
        if len(parts) == 1:
            self.socket.send(bytes.fromhex(parts[0]), text=text)
        else:
            self.socket.send(self.fragments(parts, ping), text=text)

    def fragments(self, parts, ping):
        """The library adds an empty last fragment to these. It sends one before it asks for the next."""
        for at, part in enumerate(parts):
            if at > 0 and ping is not None:
                # It refuses a payload whose pong it still waits for.
                self.answered()
                self.ping(ping)
            yield bytes.fromhex(part)

    def answered(self):
        for payload, pong in self.pings:
            if not pong.wait(PATIENCE):
                raise TimeoutError(f"no pong for {payload}")

    def wait(self, messages):
        deadline = time.monotonic() + PATIENCE
        while len(self.received) < messages:
            self.receive(deadline - time.monotonic())
        self.answered()

    def receive(self, patience):
        message = self.socket.recv(timeout=patience, decode=None)
        if isinstance(message, str):
            self.received.append((True, message.encode().hex()))
        else:
            self.received.append((False, message.hex()))

    def close(self, code, reason):
        self.socket.close(code, reason)

    def play(self, steps):
        """Until the server closes, or answers our close."""
        try:
            for step in steps:
                getattr(self, step.pop("do"))(**step)
            deadline = time.monotonic() + PATIENCE
            while True:
                self.receive(deadline - time.monotonic())
        except ConnectionClosed:
            pass

    def seen(self):
        socket = self.socket
        return {
            "received": self.received,
            "pongs": [payload for payload, pong in self.pings if pong.is_set()],
            "code": socket.close_code,
            "reason": socket.close_reason,
            "extensions": socket.response.headers.get("Sec-WebSocket-Extensions", ""),
            "protocol": socket.subprotocol or "",
        }


def talk(url, name, protocol, steps):
    offered = [protocol] if protocol else None
    with connect(url, subprotocols=offered, max_size=None, close_timeout=PATIENCE) as socket:
        session = Session(socket)
        try:
            session.play(steps)
        except TimeoutError as error:
            raise TimeoutError(f"{name}: {error}") from error
        return session.seen()


def main():
    plan = json.load(sys.stdin)
    print(json.dumps([talk(plan["url"], **session) for session in plan["sessions"]]))


main()
