// The demo page: starts jobs, watches them, and says whether anything was missed.

import "./style.css";
import { Live, TRANSPORTS, type Transport } from "./live";
import { probe } from "./probe";
import { Page } from "./view/page";

const CUT_MS = 2500;
const JOB_NAME = /^[A-Za-z0-9._-]{1,64}$/;

const CHANGING = "change";

async function startJob(): Promise<void> {
  const response = await fetch("/demo/jobs", { method: "POST" });
  const text = await response.text();
  if (!response.ok) {
    throw new Error(reasonIn(text) || `the server answered ${response.status}`);
  }
  const { job, channel } = JSON.parse(text) as { job: string; channel: string };
  live.watch(job, channel);
}

/** The message of an error answer, or what there is instead. */
function reasonIn(text: string): string {
  try {
    const { message, error } = JSON.parse(text) as { message?: string; error?: { message?: string } };
    return error?.message ?? message ?? "";
  } catch {
    return text.trim().slice(0, 200);
  }
}

const root = document.getElementById("app");
if (root === null) {
  throw new Error("the page has no #app");
}
const page = new Page(root, { start: startJob, cut: () => live.cut(CUT_MS) });

// However many publications one frame brings, the page is drawn once. A hidden tab draws nothing but still counts.
let scheduled = false;
function changed(): void {
  if (!scheduled) {
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      page.update(live);
    });
  }
}

const query = new URLSearchParams(location.search);
const asked = query.get("transport") ?? "websocket";
const known = TRANSPORTS.find((transport): transport is Transport => transport === asked);
if (known === undefined && asked !== CHANGING) {
  page.fail(`"${asked}" is no transport: there are ${TRANSPORTS.join(", ")}, and ${CHANGING} for another one after every break`);
}
const live: Live = new Live(known ?? "websocket", asked === CHANGING, changed);
Object.defineProperty(window, "__tidegate", { get: () => probe(live) });
for (const name of query.getAll("job")) {
  if (JOB_NAME.test(name)) {
    live.watch(name, `progress:${name}`);
  } else {
    page.fail(`"${name}" is no name of a job`);
  }
}
changed();
