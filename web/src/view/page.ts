// The whole page: what is fixed, and where cards go.

import { el, icon, write } from "../dom";
import type { Job } from "../job";
import type { Live } from "../live";
import { Card } from "./card";
import { Panel } from "./panel";

const WAVES = "M2 9c3.3-4 6.7-4 10 0s6.7 4 10 0M2 16c3.3-4 6.7-4 10 0s6.7 4 10 0";
const PLAY = "M8 5.5v13l10.5-6.5z";
const CUT = "M9 7l6 10M15 7l-6 10M12 12h.01M8 5.5a2 2 0 1 1-.01 0M16 5.5a2 2 0 1 1-.01 0";
const STATUS = { connecting: "connecting", connected: "live", offline: "offline" };

export interface Actions {
  start(): Promise<void>;
  cut(): void;
}

export class Page {
  private readonly cards = new Map<Job, Card>();
  private readonly panel = new Panel();
  private readonly pill = el("span", "pill");
  private readonly verdict = el("p", "verdict");
  private readonly error = el("p", "error");
  private readonly list = el("section", "jobs");
  private readonly empty = el(
    "div",
    "card empty",
    icon(WAVES),
    el("h2", "", "No job yet"),
    el("p", "", "Start one and watch its hundred steps arrive. Start several. Cut the connection in the middle."),
  );

  constructor(root: HTMLElement, actions: Actions) {
    const start = el("button", "button primary", icon(PLAY), "Start a job");
    start.id = "start";
    start.addEventListener("click", () => void this.press(start, actions));
    const cut = el("button", "button", icon(CUT), "Cut the connection");
    cut.id = "cut";
    cut.addEventListener("click", () => actions.cut());
    this.error.setAttribute("role", "alert");
    this.pill.setAttribute("role", "status");
    const brand = el("a", "brand", icon(WAVES), "Tidegate");
    brand.href = "/";
    const hero = el(
      "section",
      "hero",
      el("h1", "", "Work happens elsewhere.", el("br"), el("em", "", "Watch it live.")),
      el(
        "p",
        "lead",
        "Each job is a separate process that knows nothing of sockets: it only publishes its steps. This page follows " +
          "them, and picks up exactly where it was after a lost connection, a restart or another node.",
      ),
      el("div", "actions", start, cut),
      this.error,
    );
    const main = el("main", "", hero, el("div", "columns", el("div", "", this.verdict, this.list), this.panel.root));
    root.replaceChildren(el("header", "top", brand, this.pill), main);
  }

  fail(text: string): void {
    write(this.error, text);
  }

  update(live: Live): void {
    write(this.pill, STATUS[live.status] + (live.status === "connected" && live.node ? ` on ${live.node}` : ""));
    this.pill.dataset["status"] = live.status;
    this.sync(live.jobs);
    this.judge(live);
    this.panel.update(live);
    for (const card of this.cards.values()) {
      card.update();
    }
  }

  private judge(live: Live): void {
    const steps = live.jobs.reduce((sum, job) => sum + job.arrivals.size, 0);
    this.verdict.hidden = steps === 0;
    this.verdict.classList.toggle("bad", live.violations > 0);
    const good = `${steps} ${steps === 1 ? "step" : "steps"}, each once and in order`;
    write(this.verdict, live.violations === 0 ? good : `${live.violations} steps lost, duplicated or out of order`);
  }

  private sync(jobs: readonly Job[]): void {
    for (const [job, card] of this.cards) {
      if (!jobs.includes(job)) {
        card.root.remove();
        this.cards.delete(job);
      }
    }
    // Newest first: whatever is new is put at the top, oldest of the new ones first.
    for (const job of [...jobs].reverse()) {
      if (!this.cards.has(job)) {
        const card = new Card(job);
        this.cards.set(job, card);
        this.list.prepend(card.root);
      }
    }
    if (this.cards.size === 0) {
      this.list.replaceChildren(this.empty);
    } else {
      this.empty.remove();
    }
  }

  private async press(button: HTMLButtonElement, actions: Actions): Promise<void> {
    button.disabled = true;
    this.fail("");
    try {
      await actions.start();
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error));
    } finally {
      button.disabled = false;
    }
  }
}
