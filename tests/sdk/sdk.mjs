// The official JavaScript library against a server, over every transport and encoding that it has.
//
// node sdk.mjs '{"url": "http://127.0.0.1:8000", "transport": "http_stream", "protobuf": false}'
//
// It subscribes, publishes, reads history, comes back after a cut and recovers, and prints what it saw as one line of JSON.

import { Centrifuge } from "centrifuge";
import { Centrifuge as CentrifugeProtobuf } from "centrifuge/build/protobuf";
import { EventSource } from "eventsource";
import WebSocket from "ws";

const { url, transport, protobuf } = JSON.parse(process.argv[2]);

const endpoints = {
  websocket: `${url.replace("http", "ws")}/connection/websocket`,
  http_stream: `${url}/connection/http_stream`,
  sse: `${url}/connection/sse`,
};

const bytes = new TextEncoder();
const text = new TextDecoder();
const pack = (value) => (protobuf ? bytes.encode(JSON.stringify(value)) : value);
const unpack = (data) => (protobuf ? JSON.parse(text.decode(data)) : data);

function client() {
  const Client = protobuf ? CentrifugeProtobuf : Centrifuge;
  return new Client([{ transport, endpoint: endpoints[transport] }], {
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
const subscription = connection.newSubscription("sdk-room");
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
for (let n = 51; n <= 80; n++) await within(other.publish("sdk-room", pack({ n })), "publish");
connection.connect();
const { recovered, wasRecovering } = await event(subscription, "subscribed");
await until(80);

const history = await within(other.history("sdk-room", { limit: 3, reverse: true }), "history");
const refused = await within(other.rpc("any", pack({})).catch((error) => error.code), "rpc");
subscription.unsubscribe();
await within(other.publish("sdk-room", pack({ n: 81 })), "publish");
await within(connection.history("sdk-room", { limit: 0 }), "history");
connection.disconnect();
other.disconnect();

console.log(
  JSON.stringify({
    transport: connected.transport,
    seen,
    recovered,
    was_recovering: wasRecovering,
    history: history.publications.map(({ data }) => unpack(data).n),
    refused,
  }),
);
process.exit(0);
