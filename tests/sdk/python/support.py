"""What the scripts share: tokens, waiting with a deadline, clients that remember what they saw, and a line that can be cut."""

import asyncio
import base64
import collections
import contextlib
import hashlib
import hmac
import json
import time

from centrifuge import Client, ClientEventHandler, SubscriptionEventHandler

PATIENCE = 20.0


def token(secret, **claims):
    """A token signed with HS256."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    signed = part(b'{"alg":"HS256"}') + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


async def until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {PATIENCE} s")
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def outage(control):
    """Cuts every connection over the line, and lets none through until the end of the block."""
    host, port = control.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        await reader.readexactly(1)
        yield
    finally:
        writer.close()
        await writer.wait_closed()


class Connection(ClientEventHandler):
    """A client, and what became of it."""

    def __init__(self, url, protobuf=False, **options):
        self.connected = []
        self.connecting = []
        self.disconnected = []
        self.server_side = collections.defaultdict(ServerSide)
        # No proxy: what the environment says of one is not for a server on loopback.
        self.client = Client(
            url, events=self, use_protobuf=protobuf, min_reconnect_delay=0.05, max_reconnect_delay=0.5, proxy=None, **options
        )

    async def on_connected(self, ctx):
        self.connected.append(ctx.client)

    async def on_connecting(self, ctx):
        self.connecting.append(ctx.code)

    async def on_disconnected(self, ctx):
        self.disconnected.append(ctx.code)

    async def on_subscribed(self, ctx):
        self.server_side[ctx.channel].subscribed.append(ctx)

    async def on_publication(self, ctx):
        self.server_side[ctx.channel].publications.append(ctx.pub)

    async def on_unsubscribed(self, ctx):
        # The library reports no code.
        self.server_side[ctx.channel].unsubscribed.append(0)

    async def up(self):
        """Connects."""
        await self.client.connect()
        await self.client.ready(timeout=PATIENCE)
        return self

    def subscription(self, channel, **options):
        return Subscription(self.client, channel, **options)

    async def subscribed(self, channel, **options):
        """A subscription that is subscribed."""
        subscription = self.subscription(channel, **options)
        await subscription.inner.subscribe()
        await until(f"subscription to {channel}", lambda: subscription.subscribed)
        return subscription


class ServerSide:
    """What came of a subscription that the server made."""

    def __init__(self):
        self.publications = []
        self.subscribed = []
        self.unsubscribed = []


class Subscription(SubscriptionEventHandler):
    """A subscription, and what came by it."""

    def __init__(self, client, channel, **options):
        self.publications = []
        self.subscribed = []
        self.unsubscribed = []
        self.changes = []
        self.inner = client.new_subscription(channel, events=self, **options)

    async def on_publication(self, ctx):
        self.publications.append(ctx.pub)

    async def on_subscribed(self, ctx):
        self.subscribed.append(ctx)

    async def on_unsubscribed(self, ctx):
        self.unsubscribed.append(ctx.code)

    async def on_join(self, ctx):
        self.changes.append(("join", ctx.info))

    async def on_leave(self, ctx):
        self.changes.append(("leave", ctx.info))
