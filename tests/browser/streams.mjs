// Opens streams of one page in headless Chromium and reports what each got, as a line of JSON on stdout.
//
//   node streams.mjs '{"url": "https://127.0.0.1:8000", "sources": 12, "streams": 4, "seconds": 20}'
//
// `sources` are EventSources and `streams` are fetches of an HTTP stream, all on the channel "news" and open at the same
// time; the page then publishes one publication with a fetch. "opened" and "got" count those who were answered and who
// got it. At last it opens a WebSocket.

import { chromium } from "playwright-core";

const options = JSON.parse(process.argv[2] ?? "{}");

const browser = await chromium.launch({
  executablePath: options.chromium ?? "/usr/bin/chromium",
  // As in watch.mjs; and the certificate is the node's own.
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--ignore-certificate-errors"],
});

async function inPage({ sources, streams, seconds }) {
  const seen = { opened: 0, got: 0, socket: false, errors: [] };
  const take = (text) => {
    for (const line of text.split("\n")) {
      const message = line.replace(/^data: /, "");
      if (message.startsWith('{"connect"')) seen.opened += 1;
      if (message.includes('"pub"')) seen.got += 1;
    }
  };
  const until = async (holds) => {
    const deadline = Date.now() + seconds * 1000;
    while (!holds() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  const closing = new AbortController();
  const all = [];
  for (let n = 0; n < sources; n += 1) {
    const source = new EventSource("/sse?channel=news");
    source.onmessage = (event) => take(event.data);
    source.onerror = () => seen.errors.push(`source ${n}`);
    closing.signal.addEventListener("abort", () => source.close());
  }
  for (let n = 0; n < streams; n += 1) {
    const body = JSON.stringify({ subs: { news: {} } });
    const read = async () => {
      const response = await fetch("/connection/uni_http_stream", { method: "POST", body, signal: closing.signal });
      const decoder = new TextDecoder();
      for await (const bytes of response.body) take(decoder.decode(bytes));
    };
    all.push(read().catch((error) => closing.signal.aborted || seen.errors.push(String(error))));
  }
  await until(() => seen.opened === sources + streams);
  const body = JSON.stringify({ channel: "news", data: 1 });
  const signal = AbortSignal.timeout(seconds * 1000);
  const answer = (response) => response.text();
  seen.published = await fetch("/api/publish", { method: "POST", body, signal }).then(answer, () => "");
  await until(() => seen.got === sources + streams);
  // Where HTTP/2 is offered, a browser opens a WebSocket over HTTP/1.1 all the same.
  const socket = new WebSocket("/connection/uni_websocket?cf_connect=%7B%7D");
  socket.onmessage = () => (seen.socket = true);
  await until(() => seen.socket);
  socket.close();
  closing.abort();
  await Promise.all(all);
  const protocols = performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol);
  return { ...seen, protocols: [...new Set(protocols.filter((name) => name))] };
}

try {
  const page = await browser.newPage();
  await page.goto(`${options.url}/health`);
  const seen = await page.evaluate(inPage, options);
  process.stdout.write(`${JSON.stringify(seen)}\n`);
} finally {
  await browser.close();
}
