"""The Python library for backends against a server: every method that it has, as a caller that waits and as one that does not.

server_api.py '{"url": "http://127.0.0.1:8000", "secret": "...", "key": "..."}'

What a method did is looked at by a client, or by another method. It fails with what is not as it should be.
"""

import asyncio
import base64
import inspect
import json
import sys
import time
import uuid

import cent
from cent.dto import PushNotification, PushRecipient, UserTopicUpdateRequest
from support import PATIENCE, Connection, token, until

# Methods of the commercial edition of the server that the library is made for.
ELSEWHERE = [
    cent.ConnectionsRequest(user="ann", expression=""),
    cent.UpdateUserStatusRequest(users=["ann"]),
    cent.GetUserStatusRequest(users=["ann"]),
    cent.DeleteUserStatusRequest(users=["ann"]),
    cent.DeviceRegisterRequest(provider="fcm", token="1", platform="ios"),
    cent.DeviceUpdateRequest(),
    cent.DeviceRemoveRequest(),
    cent.DeviceListRequest(),
    cent.DeviceTopicListRequest(),
    cent.DeviceTopicUpdateRequest(device_id="1", op="set", topics=[]),
    cent.UserTopicListRequest(),
    UserTopicUpdateRequest(user="ann", op="set", topics=[]),
    cent.SendPushNotificationRequest(recipient=PushRecipient(), notification=PushNotification()),
    cent.UpdatePushStatusRequest(analytics_uid="1", status="delivered"),
    cent.CancelPushRequest(uid="1"),
]


def equal(what, seen, expected):
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, saw {seen!r}")


class Calls:
    """One run over all methods, with one of both callers of the library."""

    def __init__(self, url, secret, caller):
        self.url = url.replace("http", "ws", 1) + "/connection/websocket"
        self.secret = secret
        self.caller = caller
        # One server may see several runs.
        self.run = uuid.uuid4().hex
        self.user = f"ann-{self.run}"

    async def call(self, request):
        # The library names its methods as the server does.
        method = getattr(self.caller, request.api_method)
        if inspect.iscoroutinefunction(method):
            return await method(request)
        return await asyncio.to_thread(method, request)

    async def refusal(self, request):
        try:
            answer = await self.call(request)
        except cent.CentApiResponseError as error:
            return error.code
        except cent.CentTransportError as error:
            return error.status_code
        except cent.CentUnauthorizedError:
            return 401
        raise AssertionError(f"{request!r} was answered with {answer!r}")

    async def until(self, what, request, condition):
        """Asks again and again. One node may hear of a thing a little later than another."""
        deadline = time.monotonic() + PATIENCE
        while not condition(answer := await self.call(request)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what} within {PATIENCE} s: {answer!r}")
            await asyncio.sleep(0.005)
        return answer

    def channel(self, name, namespace="open"):
        return f"{namespace}:{name}-{self.run}"

    async def client(self, **claims):
        return await Connection(self.url, token=token(self.secret, sub=self.user, **claims)).up()

    async def publish(self):
        channel = self.channel("publish")
        client = await self.client()
        subscription = await client.subscribed(channel)
        first = await self.call(cent.PublishRequest(channel=channel, data={"n": 1}, tags={"a": "b"}))
        once = cent.PublishRequest(channel=channel, data={"n": 2}, idempotency_key="once")
        second, again = await self.call(once), await self.call(once)
        equal("an idempotent publish", (again.offset, again.epoch), (second.offset, second.epoch))
        binary = base64.b64encode(b'{"n": 3}').decode()
        third = await self.call(cent.PublishRequest(channel=channel, data=None, b64data=binary))
        equal("offsets", [first.offset, second.offset, third.offset], sorted({first.offset, second.offset, third.offset}))
        equal("epochs", {second.epoch, third.epoch}, {first.epoch})
        await until("publications", lambda: len(subscription.publications) == 3)
        equal("data", [publication.data for publication in subscription.publications], [{"n": 1}, {"n": 2}, {"n": 3}])
        equal("tags", subscription.publications[0].tags, {"a": "b"})
        equal("publish to nowhere", await self.refusal(cent.PublishRequest(channel="nowhere:a", data={})), 102)
        equal("publish without history", await self.refusal(cent.PublishRequest(channel=channel, data={}, skip_history=True)), 108)
        await client.client.disconnect()

    async def broadcast(self):
        channels = [self.channel("broadcast-1"), "nowhere:a", self.channel("broadcast-2")]
        result = await self.call(cent.BroadcastRequest(channels=channels, data={"n": 1}, tags={"a": "b"}))
        equal("broadcast", [reply.error and reply.error.code for reply in result.responses], [None, 102, None])
        for channel in channels[::2]:
            request = cent.HistoryRequest(channel=channel, limit=10)
            history = await self.call(request)
            equal("broadcast data", [(p.data, p.tags) for p in history.publications], [({"n": 1}, {"a": "b"})])

    async def history(self):
        channel = self.channel("history")
        offsets = [(await self.call(cent.PublishRequest(channel=channel, data={"n": n}))).offset for n in range(1, 11)]

        def numbers(result):
            return [publication.data["n"] for publication in result.publications]

        async def read(what, expected, **options):
            request = cent.HistoryRequest(channel=channel, **options)
            equal(what, numbers(await self.call(request)), expected)

        top = await self.call(cent.HistoryRequest(channel=channel))
        # A log that many channels share may be further.
        equal("the top is as far as what was published", top.offset >= offsets[-1], True)
        equal("a history without a limit", top.publications, [])
        await read("a history", [1, 2, 3], limit=3)
        await read("a history from its end", [10, 9, 8], limit=3, reverse=True)
        fifth = cent.StreamPosition(offset=offsets[4], epoch=top.epoch)
        await read("a history after the fifth", [6, 7, 8, 9, 10], limit=100, since=fifth)
        await read("a history before the fifth", [4, 3], limit=2, since=fifth, reverse=True)
        lost = cent.HistoryRequest(channel=channel, limit=1, since=cent.StreamPosition(offset=1, epoch="other"))
        equal("a history of another life", await self.refusal(lost), 112)

    async def history_remove(self):
        channel = self.channel("history_remove")
        before = [await self.call(cent.PublishRequest(channel=channel, data={"n": n})) for n in range(1, 4)]
        await self.call(cent.HistoryRemoveRequest(channel=channel))
        everything = cent.HistoryRequest(channel=channel, limit=10)
        await self.until("end of a history", everything, lambda result: not result.publications)
        after = await self.call(cent.PublishRequest(channel=channel, data={"n": 4}))
        if after.epoch == before[-1].epoch:
            equal("an offset goes on", after.offset > before[-1].offset, True)
        history = await self.call(everything)
        equal("a new history", [publication.data for publication in history.publications], [{"n": 4}])
        equal("the history of nowhere", await self.refusal(cent.HistoryRemoveRequest(channel="nowhere:a")), 102)

    async def channels(self):
        one, two = self.channel("channels-1"), self.channel("channels-2")
        clients = [await self.client(), await self.client()]
        for client in clients:
            await client.subscribed(one)
        await clients[0].subscribed(two)
        request = cent.ChannelsRequest(pattern=f"open:channels-*-{self.run}")
        counted = {one: 2, two: 1}
        # What other nodes have may be a little older.
        await self.until(
            "channels", request, lambda result: {name: info.num_clients for name, info in result.channels.items()} == counted
        )
        everywhere = await self.call(cent.ChannelsRequest())
        equal("channels without a pattern", counted.keys() <= everywhere.channels.keys(), True)
        for client in clients:
            await client.client.disconnect()
        await self.until("end of the channels", request, lambda result: not result.channels)

    async def presence(self):
        channel = self.channel("presence")
        client = await self.client(info={"name": "Ann"})
        await client.subscribed(channel)
        result = await self.until("presence", cent.PresenceRequest(channel=channel), lambda result: result.presence)
        infos = [(info.user, info.client, info.conn_info) for info in result.presence.values()]
        equal("presence", infos, [(self.user, client.connected[0], {"name": "Ann"})])
        stats = await self.until("presence", cent.PresenceStatsRequest(channel=channel), lambda stats: stats.num_clients)
        equal("presence stats", (stats.num_clients, stats.num_users), (1, 1))
        equal("presence of nowhere", await self.refusal(cent.PresenceRequest(channel="nowhere:a")), 102)
        await client.client.disconnect()

    async def subscribe(self):
        channel = self.channel("subscribe", "private")
        first = await self.call(cent.PublishRequest(channel=channel, data={"n": 1}))
        await self.call(cent.PublishRequest(channel=channel, data={"n": 2}))
        client = await self.client()
        request = cent.SubscribeRequest(
            user=self.user,
            client=client.connected[0],
            channel=channel,
            info={"as": "guest"},
            data={"welcome": True},
            recover_since=cent.StreamPosition(offset=first.offset, epoch=first.epoch),
            override=cent.ChannelOptionsOverride(join_leave=cent.BoolValue(value=False)),
        )
        await self.call(request)
        pushed = client.server_side[channel]
        await until("subscription", lambda: pushed.subscribed)
        await self.call(cent.PublishRequest(channel=channel, data={"n": 3}))
        await until("publications", lambda: len(pushed.publications) == 2)
        equal("what a subscription brings", [publication.data for publication in pushed.publications], [{"n": 2}, {"n": 3}])
        equal("what it says", (pushed.subscribed[0].data, pushed.subscribed[0].recoverable), ({"welcome": True}, True))
        members = await self.until("presence", cent.PresenceRequest(channel=channel), lambda result: result.presence)
        infos = [(info.client, info.chan_info) for info in members.presence.values()]
        equal("who is subscribed", infos, [(client.connected[0], {"as": "guest"})])
        await self.call(cent.UnsubscribeRequest(user=self.user, client=client.connected[0], channel=channel))
        await until("end of the subscription", lambda: pushed.unsubscribed)
        nowhere = cent.SubscribeRequest(user=self.user, channel="nowhere:a")
        equal("a subscription to nowhere", await self.refusal(nowhere), 102)
        await client.client.disconnect()

    async def revocation(self):
        name = f"eve-{self.run}"

        async def answered(code, **claims):
            """A client that was admitted (0) or refused so. Another node may answer as before until it has heard."""
            async with asyncio.timeout(PATIENCE):
                while True:
                    client = Connection(self.url, token=token(self.secret, sub=name, **claims))
                    await client.client.connect()
                    await until(f"answer to {claims}", lambda: client.connected or client.disconnected)
                    if code == (0 if client.connected else client.disconnected[0]):
                        return client
                    await client.client.disconnect()

        by_id = await answered(0, jti=self.run)
        await self.call(cent.RevokeTokenRequest(uid=self.run))
        await until("end of a revoked token", lambda: 3014 in by_id.connecting)
        await answered(3500, jti=self.run)

        now = int(time.time())
        by_time = await answered(0, iat=now - 10)
        await self.call(cent.InvalidateUserTokensRequest(user=name, issued_before=now - 5))
        await until("end of an old token", lambda: 3014 in by_time.connecting)
        await answered(3500, iat=now - 10)

        by_name = await answered(0, iat=now)
        await self.call(cent.BlockUserRequest(user=name))
        await until("end of a blocked user", lambda: by_name.disconnected)
        equal("a blocked user", by_name.disconnected, [3507])
        await answered(3507, iat=now)
        await self.call(cent.UnblockUserRequest(user=name))
        for client in (by_id, by_time, await answered(0, iat=now)):
            await client.client.disconnect()

    async def unsubscribe(self):
        channel = self.channel("unsubscribe")
        client, other = await self.client(), await self.client()
        subscriptions = [await connection.subscribed(channel) for connection in (client, other)]
        one = cent.UnsubscribeRequest(user=self.user, channel=channel, client=client.connected[0])
        await self.call(one)
        await until("end of a subscription", lambda: subscriptions[0].unsubscribed)
        equal("who is still subscribed", subscriptions[1].unsubscribed, [])
        await self.call(cent.UnsubscribeRequest(user=self.user, channel=channel))
        await until("end of all subscriptions", lambda: subscriptions[1].unsubscribed)
        equal("unsubscribe", [subscription.unsubscribed for subscription in subscriptions], [[2000], [2000]])
        await client.client.disconnect()
        await other.client.disconnect()

    async def disconnect(self):
        client, other = await self.client(), await self.client()
        whitelist = [other.connected[0]]
        end = cent.Disconnect(code=4500, reason="enough")
        await self.call(cent.DisconnectRequest(user=self.user, whitelist=whitelist, disconnect=end))
        await until("end of a connection", lambda: client.disconnected)
        equal("who is still connected", other.disconnected, [])
        await self.call(cent.DisconnectRequest(user=self.user))
        await until("end of all connections", lambda: other.disconnected)
        equal("disconnect", [client.disconnected, other.disconnected], [[4500], [3503]])
        wrong = cent.DisconnectRequest(user=self.user, disconnect=cent.Disconnect(code=1))
        equal("a code that no client knows", await self.refusal(wrong), 107)

    async def refresh(self):
        # Without a refresh this one would be closed before the other.
        stays = await self.client(exp=int(time.time()) + 2)
        later = int(time.time()) + 60
        await self.call(cent.RefreshRequest(user=self.user, client=stays.connected[0], expire_at=later))
        goes = await self.client()
        await self.call(cent.RefreshRequest(user=self.user, client=goes.connected[0], expired=True))
        await until("end of an expired connection", lambda: 3005 in goes.connecting + goes.disconnected)
        ends = time.time() + 4.5
        await until("time to expire", lambda: time.time() > ends)
        equal("a refreshed connection", (len(stays.connected), stays.disconnected), (1, []))
        await stays.client.disconnect()
        await goes.client.disconnect()

    async def info(self):
        info = await self.call(cent.InfoRequest())
        if not info.nodes or not all(node.uid and node.name and node.version for node in info.nodes):
            raise AssertionError(f"info: {info!r}")

    async def batch(self):
        channel = self.channel("batch")
        position = await self.call(cent.PublishRequest(channel=channel, data={"n": 0}))
        for parallel in (False, True):
            requests = [
                cent.PublishRequest(channel=channel, data={"n": 1}),
                cent.BroadcastRequest(channels=[channel], data={"n": 2}),
                cent.HistoryRequest(channel=channel),
                cent.PresenceRequest(channel=channel),
                cent.PresenceStatsRequest(channel=channel),
                cent.InfoRequest(),
                cent.SubscribeRequest(user="nobody", channel=channel),
                cent.UnsubscribeRequest(user="nobody", channel=channel),
                cent.DisconnectRequest(user="nobody"),
                cent.RefreshRequest(user="nobody"),
                cent.HistoryRemoveRequest(channel=self.channel("batch-2")),
                cent.ChannelsRequest(),
            ]
            result = await self.call(cent.BatchRequest(requests=requests, parallel=parallel))
            publish, broadcast, history, presence, stats, info, *orders = result.replies
            equal("a batch in order", publish.offset > position.offset, True)
            equal("a broadcast in a batch", broadcast.responses[0].result.epoch, publish.epoch)
            equal("a history in a batch", history.epoch, publish.epoch)
            equal("presence in a batch", (presence.presence, stats.num_clients), ({}, 0))
            equal("the rest of a batch", (len(info.nodes) > 0, len(orders)), (True, 6))

    async def elsewhere(self):
        """What is not here is said to be not here."""
        for request in ELSEWHERE:
            equal(request.api_method, await self.refusal(request), 404)

    async def every_method(self):
        await asyncio.gather(
            self.publish(),
            self.broadcast(),
            self.history(),
            self.history_remove(),
            self.channels(),
            self.presence(),
            self.subscribe(),
            self.revocation(),
            self.refresh(),
            self.info(),
            self.batch(),
            self.elsewhere(),
        )
        # These are for all connections of the user.
        await self.unsubscribe()
        await self.disconnect()


async def main(url, secret, key):
    api = f"{url}/api"
    with cent.Client(api, key) as caller:
        async with cent.AsyncClient(api, key) as other:
            await asyncio.gather(*(Calls(url, secret, c).every_method() for c in (caller, other)))
    with cent.Client(api, "another key") as stranger:
        equal("a wrong key", await Calls(url, secret, stranger).refusal(cent.InfoRequest()), 401)


asyncio.run(main(**json.loads(sys.argv[1])))
