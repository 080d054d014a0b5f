// The connection at a glance, and what happened to it.

import { clock, el, write } from "../dom";
import type { Position } from "../job";
import type { Live } from "../live";

const SHOWN = 12;
const NAMES: Record<string, string> = { websocket: "WebSocket", sse: "Server-sent events", http_stream: "HTTP stream", events: "EventSource" };

export class Panel {
  readonly root: HTMLElement;
  private readonly values: Record<"transport" | "node" | "position" | "reconnects" | "recovered" | "steps", HTMLElement>;
  private readonly moments = el("ol", "moments");
  private shown = "";

  constructor() {
    this.values = {
      transport: el("dd"),
      node: el("dd"),
      position: el("dd", "mono"),
      reconnects: el("dd"),
      recovered: el("dd"),
      steps: el("dd"),
    };
    const list = el("dl", "facts");
    for (const [name, value] of Object.entries(this.values)) {
      value.id = `fact-${name}`;
      list.append(el("div", "", el("dt", "", name), value));
    }
    this.moments.setAttribute("aria-live", "polite");
    const timeline = el("section", "", el("h3", "", "Timeline"), this.moments);
    this.root = el("aside", "card panel", el("h2", "", "Connection"), list, timeline);
  }

  update(live: Live): void {
    const { values } = this;
    const [job] = live.jobs;
    write(values.transport, NAMES[live.transport] ?? (live.transport || "-"));
    write(values.node, live.node || "-");
    write(values.position, job?.position ? short(job.position) : "-");
    write(values.reconnects, String(live.reconnects));
    write(values.recovered, String(live.recovered.reduce((sum, count) => sum + count, 0)));
    write(values.steps, String(live.jobs.reduce((sum, each) => sum + each.steps.length, 0)));
    this.list(live);
  }

  private list(live: Live): void {
    const key = live.moments.slice(0, SHOWN).map((moment) => `${moment.at.getTime()} ${moment.text}`).join();
    if (key === this.shown) {
      return;
    }
    this.shown = key;
    const items = live.moments.slice(0, SHOWN).map(({ at, text, kind }) => {
      return el("li", kind, el("span", "", text), el("time", "", clock(at)));
    });
    this.moments.replaceChildren(...items);
  }
}

/** The whole epoch is on the job's card; here is room for its beginning. */
function short({ epoch, offset }: Position): string {
  return `${epoch.length > 12 ? `${epoch.slice(0, 8)}…` : epoch || "-"}:${offset}`;
}
