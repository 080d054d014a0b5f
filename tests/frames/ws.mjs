// The WebSocket library `ws` as a client of a server: plays sessions that come on standard input, one after the other.
//
// {"url": "ws://127.0.0.1:8000/connection/websocket", "sessions": [{"name": …, "protocol": …, "steps": […]}]}
//
// What each session saw is printed as one line of JSON. The steps are described in scenario.rs; bytes are hexadecimal.

import { readFileSync } from "node:fs";

import WebSocket from "ws";

const { url, sessions } = JSON.parse(readFileSync(0, "utf8"));
const PATIENCE = 20_000;

const bytes = (hex) => Buffer.from(hex, "hex");

async function until(condition, what) {
  const deadline = Date.now() + PATIENCE;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`no ${what} within ${PATIENCE} ms`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function talk({ name, protocol, steps }) {
  const socket = new WebSocket(url, protocol ? [protocol] : []);
  const seen = { received: [], pongs: [], code: null, reason: "", extensions: "", protocol: "" };
  let failed;
  socket.on("message", (data, isBinary) => seen.received.push([!isBinary, data.toString("hex")]));
  socket.on("pong", (data) => seen.pongs.push(data.toString("hex")));
  socket.on("error", (error) => (failed = error));
  socket.on("close", (code, reason) => Object.assign(seen, { code, reason: reason.toString() }));
  const ended = () => seen.code !== null;
  await until(() => socket.readyState !== WebSocket.CONNECTING, `connection (${name})`);
  Object.assign(seen, { extensions: socket.extensions, protocol: socket.protocol });

  let pings = 0;
  const ping = (payload) => {
    pings += 1;
    socket.ping(bytes(payload));
  };
  const play = {
    send({ parts, text, ping: between }) {
      parts.forEach((part, at) => {
        const fin = at + 1 === parts.length;
        socket.send(bytes(part), { binary: !text, fin });
        if (between !== null && !fin) ping(between);
      });
    },
    ping: ({ payload }) => ping(payload),
    unmasked: ({ payload }) => socket.send(bytes(payload), { binary: false, mask: false }),
    wait: ({ messages }) =>
      until(
        () => ended() || (seen.received.length >= messages && seen.pongs.length >= pings),
        `${messages} messages and ${pings} pongs (${name})`,
      ),
    close: ({ code, reason }) => (code === null ? socket.close() : socket.close(code, reason)),
  };
  for (const step of steps) {
    if (!ended()) await play[step.do](step);
  }
  await until(ended, `end (${name})`);
  // Whoever is cut off while it still sends learns of it by an error too.
  if (failed && seen.code === 1006) throw new Error(`${name}: ${failed.message}`);
  return seen;
}

const all = [];
for (const session of sessions) all.push(await talk(session));
console.log(JSON.stringify(all));
