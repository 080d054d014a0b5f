"""The Python client library against a server: every scenario of packages.rs, in one of both encodings.

client.py '{"url": "http://127.0.0.1:8000", "line": "127.0.0.1:8001", "control": "127.0.0.1:8002",
            "protobuf": false, "secret": "...", "key": "..."}'

`line` leads to a server too, and is down for as long as somebody is connected to `control`. What was seen is printed as one
line of JSON.
"""

import asyncio
import json
import sys
import time
import uuid

from cent import AsyncClient, Disconnect, DisconnectRequest, PublishRequest, UnsubscribeRequest
from centrifuge import DeltaType, ReplyError, StreamPosition
from support import Connection, outage, token, until

# Of tokens; the server counts in whole seconds.
LIFE = 3
CUTS = 3
FILLER = "the same again and again, " * 160


class Scenario:
    def __init__(self, url, line, control, protobuf, secret, key):
        self.url = url.replace("http", "ws", 1) + "/connection/websocket"
        self.line = f"ws://{line}/connection/websocket"
        self.control = control
        self.protobuf = protobuf
        self.secret = secret
        self.api = AsyncClient(f"{url}/api", key)
        # One server may see several runs.
        self.run = uuid.uuid4().hex
        self.renewed = {"connection": 0, "subscription": 0}
        self.published = 0
        self.publishing = True

    def pack(self, **value):
        return json.dumps(value).encode() if self.protobuf else value

    def unpack(self, data):
        return json.loads(data) if self.protobuf else data

    def numbers(self, subscription):
        return [self.unpack(publication.data)["n"] for publication in subscription.publications]

    def channel(self, namespace, name="room"):
        return f"{namespace}:{name}-{self.run}"

    def user(self, name):
        return f"{name}-{self.run}"

    def token(self, name, **claims):
        return token(self.secret, sub=self.user(name), info={"name": name}, **claims)

    async def renew(self):
        self.renewed["connection"] += 1
        return self.token("ann", exp=int(time.time()) + LIFE, channels=[self.channel("private", "pushed")])

    async def renew_subscription(self, channel):
        self.renewed["subscription"] += 1
        return self.token("ann", channel=channel, exp=int(time.time()) + LIFE)

    def connection(self, name):
        return Connection(self.url, self.protobuf, token=self.token(name))

    async def refusals(self, bob):
        """What is refused, by the code that the library reports."""
        stranger = Connection(self.url, self.protobuf, token=token("another secret", sub="ann"))
        await stranger.client.connect()
        await until("refusal of a token", lambda: stranger.disconnected)
        codes = {"connect": stranger.disconnected}

        async def subscribe(what, channel, **options):
            refused = bob.subscription(channel, **options)
            await refused.inner.subscribe()
            await until(f"refusal of {channel}", lambda: refused.unsubscribed)
            codes[what] = refused.unsubscribed
            bob.client.remove_subscription(refused.inner)

        private = self.channel("private")
        await subscribe("unknown", self.channel("nowhere"))
        await subscribe("closed", self.channel("closed"))
        await subscribe("without_token", private)
        await subscribe("foreign_token", private, token=token("another secret", sub=self.user("bob"), channel=private))
        client, closed = bob.client, self.channel("closed")
        for what, call in {
            "publish": client.publish(closed, self.pack(n=0)),
            "history": client.history(closed, limit=1),
            "presence": client.presence(closed),
            "presence_stats": client.presence_stats(closed),
            "rpc": client.rpc("any", self.pack()),
        }.items():
            try:
                await call
                codes[what] = []
            except ReplyError as error:
                codes[what] = [error.code]
        return codes

    async def history(self, bob):
        """Twenty publications of its own, and what history has of them."""
        channel = self.channel("open", "history")
        subscription = await bob.subscribed(channel)
        for n in range(1, 21):
            await subscription.inner.publish(self.pack(n=n))
        tagged = PublishRequest(channel=channel, data={"n": 21}, tags={"by": "backend"})
        await self.api.publish(tagged)
        await until("publications", lambda: len(subscription.publications) == 21)
        newest = await subscription.inner.history(limit=3, reverse=True)
        tenth = StreamPosition(subscription.publications[9].offset, newest.epoch)
        since = await bob.client.history(channel, limit=100, since=tenth)
        top = await bob.client.history(channel)
        publisher = subscription.publications[0].info
        return {
            "received": self.numbers(subscription),
            "offsets": [publication.offset for publication in subscription.publications],
            "publisher": [publisher.user.split("-")[0], self.unpack(publisher.conn_info)["name"]],
            "tags": subscription.publications[20].tags,
            "newest": [self.unpack(publication.data)["n"] for publication in newest.publications],
            "since": [self.unpack(publication.data)["n"] for publication in since.publications],
            "top": [len(top.publications), top.offset],
        }

    async def presence(self, bob):
        """Who is there by name, how many are, and who comes and goes."""
        channel = self.channel("open", "presence")
        ann = await self.connection("ann").up()
        watching = await ann.subscribed(channel, join_leave=True)
        await until("join of its own", lambda: len(watching.changes) == 1)
        coming = await bob.subscribed(channel)
        await until("join", lambda: len(watching.changes) == 2)
        seen = [await self.present(watching)]
        await coming.inner.unsubscribe()
        await until("leave", lambda: len(watching.changes) == 3)
        seen.append(await self.present(watching))
        await ann.client.disconnect()
        return {"seen": seen, "changes": [[what, self.unpack(info.conn_info)["name"]] for what, info in watching.changes]}

    async def present(self, subscription):
        clients = (await subscription.inner.presence()).clients.values()
        stats = await subscription.inner.presence_stats()
        names = sorted(self.unpack(info.conn_info)["name"] for info in clients)
        return {"names": names, "clients": stats.num_clients, "users": stats.num_users}

    async def binary(self, bob):
        """Bytes that are no JSON, and what came of them."""
        if not self.protobuf:
            return None
        subscription = await bob.subscribed(self.channel("open", "binary"))
        await subscription.inner.publish(bytes(range(256)))
        await until("bytes", lambda: subscription.publications)
        return subscription.publications[0].data.hex()

    async def cuts(self, bob):
        """Four subscriptions over a line that is cut again and again, with tokens that are short of breath."""
        old = self.token("ann", exp=int(time.time()) - 60)
        pushed = self.channel("private", "pushed")
        ann = await Connection(self.line, self.protobuf, token=old, get_token=self.renew).up()
        subscriptions = [
            await ann.subscribed(self.channel("open", "kept")),
            await ann.subscribed(self.channel("open", "delta"), delta=DeltaType.FOSSIL),
            await ann.subscribed(self.channel("private", "kept"), get_token=self.renew_subscription),
            ann.server_side[pushed],
        ]
        channels = [subscription.inner.channel for subscription in subscriptions[:3]] + [pushed]
        publishing = asyncio.create_task(self.publish(bob, channels))
        for cut in range(1, CUTS + 1):
            await self.flows(subscriptions)
            async with outage(self.control):
                missed = self.published + 10
                await until("publications behind its back", lambda: self.published >= missed)
            await until("return", lambda: all(len(s.subscribed) > cut for s in subscriptions))
        # From here on the connection stays, if its tokens are renewed.
        renewed = {what: times + 2 for what, times in self.renewed.items()}
        await until("renewed tokens", lambda: all(self.renewed[what] >= times for what, times in renewed.items()))
        self.publishing = False
        await publishing
        await until("all publications", lambda: all(len(s.publications) >= self.published for s in subscriptions))
        members = (await subscriptions[2].inner.presence()).clients.values()
        seen = {
            "published": self.published,
            "bytes": self.published * len(FILLER),
            "received": [self.numbers(subscription) for subscription in subscriptions],
            "recovered": [[s.was_recovering, s.recovered] for x in subscriptions for s in x.subscribed[1:]],
            "connections": len(ann.connected),
            "unsubscribed": [code for subscription in subscriptions for code in subscription.unsubscribed],
            "channel_info": [self.unpack(info.chan_info)["name"] for info in members],
        }
        seen["ordered"] = await self.orders(ann, subscriptions[0])
        return seen

    async def publish(self, bob, channels):
        """Counts, in every channel."""
        plain, delta, private, pushed = channels
        while self.publishing:
            n = self.published + 1
            await asyncio.gather(
                bob.client.publish(plain, self.pack(n=n)),
                bob.client.publish(delta, self.pack(n=n, filler=FILLER)),
                bob.client.publish(private, self.pack(n=n)),
                bob.client.publish(pushed, self.pack(n=n)),
            )
            self.published = n
            await asyncio.sleep(0.01)

    async def flows(self, subscriptions):
        """Until every subscription has what was published by now and twenty more."""
        due = self.published + 20
        await until("publications", lambda: all(len(s.publications) >= due for s in subscriptions))

    async def orders(self, ann, subscription):
        """What a backend orders, by the code that arrives."""
        user = self.user("ann")
        await self.api.unsubscribe(UnsubscribeRequest(user=user, channel=subscription.inner.channel))
        await until("end of a subscription", lambda: subscription.unsubscribed)
        connections = len(ann.connected)
        await self.api.disconnect(DisconnectRequest(user=user, disconnect=Disconnect(code=4000, reason="come again")))
        await until("connection", lambda: len(ann.connected) > connections)
        came_again = ann.connecting[-1]
        await self.api.disconnect(DisconnectRequest(user=user))
        await until("end of a connection", lambda: ann.disconnected)
        return [subscription.unsubscribed[-1], came_again, ann.disconnected[-1]]

    async def play(self):
        bob = await self.connection("bob").up()
        seen = {
            "refused": await self.refusals(bob),
            "history": await self.history(bob),
            "presence": await self.presence(bob),
            "binary": await self.binary(bob),
            "cuts": await self.cuts(bob),
        }
        await bob.client.disconnect()
        await self.api.close()
        return seen


async def main():
    print(json.dumps(await Scenario(**json.loads(sys.argv[1])).play()))


asyncio.run(main())
