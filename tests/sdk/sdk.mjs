// The official JavaScript library against a server, over every transport and encoding that it has.
//
// node sdk.mjs '{"url": "http://127.0.0.1:8000", "transport": "http_stream", "protobuf": false}'
//
// It subscribes, publishes, reads history, comes back after a cut and recovers, takes deltas, sees who is present and is
// closed by a backend; and prints what it saw as one line of JSON.

import { createHmac, randomUUID } from "node:crypto";

import { Centrifuge } from "centrifuge";
import { Centrifuge as CentrifugeProtobuf } from "centrifuge/build/protobuf";
import { EventSource } from "eventsource";
import WebSocket from "ws";

const { url, transport, protobuf, secret } = JSON.parse(process.argv[2]);
// One server may see several runs.
const room = `sdk-room-${randomUUID()}`;

const endpoints = {
  websocket: `${url.replace("http", "ws")}/connection/websocket`,
  http_stream: `${url}/connection/http_stream`,
  sse: `${url}/connection/sse`,
};

const bytes = new TextEncoder();
const text = new TextDecoder();
const pack = (value) => (protobuf ? bytes.encode(JSON.stringify(value)) : value);
const unpack = (data) => (protobuf ? JSON.parse(text.decode(data)) : data);

function token(user) {
  const part = (value) => Buffer.from(value).toString("base64url");
  const signed = `${part('{"alg":"HS256"}')}.${part(JSON.stringify({ sub: user }))}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

function client(user) {
  const Client = protobuf ? CentrifugeProtobuf : Centrifuge;
  return new Client([{ transport, endpoint: endpoints[transport] }], {
    token: user ? token(user) : "",
    websocket: WebSocket,
    eventsource: EventSource,
    emulationEndpoint: `${url}/emulation`,
    minReconnectDelay: 50,
    maxReconnectDelay: 500,
  });
}

const within = (promise, what) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`no ${what} within 10 s`)), 10_000).unref()),
  ]);

const event = (emitter, name) => within(new Promise((resolve) => emitter.once(name, resolve)), name);

const connection = client();
const seen = [];
connection.connect();
const connected = await event(connection, "connected");
const subscription = connection.newSubscription(room);
subscription.on("publication", ({ data, offset }) => seen.push([unpack(data).n, offset]));
subscription.subscribe();
await event(subscription, "subscribed");

const until = async (length) => {
  const deadline = Date.now() + 10_000;
  while (seen.length < length) {
    if (Date.now() > deadline) throw new Error(`saw ${seen.length} of ${length} publications`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

for (let n = 1; n <= 50; n++) await within(subscription.publish(pack({ n })), "publish");
await until(50);

// Another client publishes while this one is away.
connection.disconnect();
const other = client();
other.connect();
await event(other, "connected");
for (let n = 51; n <= 80; n++) await within(other.publish(room, pack({ n })), "publish");
connection.connect();
const { recovered, wasRecovering } = await event(subscription, "subscribed");
await until(80);

const history = await within(other.history(room, { limit: 3, reverse: true }), "history");
const refused = await within(other.rpc("any", pack({})).catch((error) => error.code), "rpc");
subscription.unsubscribe();
await within(other.publish(room, pack({ n: 81 })), "publish");
await within(connection.history(room, { limit: 0 }), "history");
connection.disconnect();
other.disconnect();

// Presence: who is there, who comes and goes.
const changes = [];
const ann = client("ann");
const watching = ann.newSubscription(`${room}-presence`, { joinLeave: true });
watching.on("join", ({ info }) => changes.push(`join ${info.user}`));
watching.on("leave", ({ info }) => changes.push(`leave ${info.user}`));
watching.subscribe();
ann.connect();
await event(watching, "subscribed");
const changed = async (length) => {
  const deadline = Date.now() + 10_000;
  while (changes.length < length) {
    if (Date.now() > deadline) throw new Error(`was told of ${changes}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
await changed(1);
const bob = client("bob");
const coming = bob.newSubscription(`${room}-presence`);
coming.subscribe();
bob.connect();
await event(coming, "subscribed");
await changed(2);
const users = async () => Object.values((await within(watching.presence(), "presence")).clients).map((c) => c.user).sort();
const present = [await users()];
coming.unsubscribe();
await changed(3);
present.push(await users());

// Deltas: the library puts together what was published.
const deltas = [];
const taking = bob.newSubscription(`${room}-delta`, { delta: "fossil" });
taking.on("publication", ({ data }) => deltas.push(unpack(data).n));
taking.subscribe();
await event(taking, "subscribed");
const filler = "the same again and again, ".repeat(20);
for (let n = 1; n <= 20; n++) await within(ann.publish(`${room}-delta`, pack({ n, filler })), "publish");
const deadline = Date.now() + 10_000;
while (deltas.length < 20 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));

// A backend closes every session of a user, wherever it is.
const closing = event(bob, "disconnected");
const ordered = await fetch(`${url}/api/disconnect`, { method: "POST", body: JSON.stringify({ user: "bob" }) });
if (JSON.stringify(await ordered.json()) !== '{"result":{}}') throw new Error("the order was refused");
const { code: closed } = await closing;
ann.disconnect();

console.log(
  JSON.stringify({
    transport: connected.transport,
    seen,
    recovered,
    was_recovering: wasRecovering,
    history: history.publications.map(({ data }) => unpack(data).n),
    refused,
    present,
    changes,
    deltas,
    closed,
  }),
);
process.exit(0);
