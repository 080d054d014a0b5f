// One job: its progress, its log, and what was counted.

import { clock, el, icon, write } from "../dom";
import { type Job, type Line, LINES_MAX } from "../job";

/** Above this many steps a cell stands for several. */
const CELLS_MAX = 100;
const OPEN = "M14 5h5v5M19 5l-9 9M17 14v4a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V8a1 1 0 0 1 1-1h4";

export class Card {
  readonly root: HTMLElement;
  private readonly bar = el("div", "cells");
  private readonly percent = el("span", "percent");
  private readonly state = el("span", "badge");
  private readonly log = el("ol", "log");
  private readonly position = el("code", "");
  private readonly facts: Record<"lost" | "duplicated" | "reordered" | "recovered", HTMLElement>;
  private cells: HTMLElement[] = [];
  private written = 0;

  constructor(private readonly job: Job) {
    const link = el("a", "button quiet", icon(OPEN), "Open in another tab");
    link.href = `?job=${encodeURIComponent(job.name)}`;
    link.target = "_blank";
    link.rel = "noopener";
    this.facts = { lost: el("dd"), duplicated: el("dd"), reordered: el("dd"), recovered: el("dd") };
    const counts = el("dl", "counts");
    for (const [name, value] of Object.entries(this.facts)) {
      counts.append(el("div", "", el("dt", "", name), value));
    }
    const title = el("div", "title", el("h2", "", job.name), this.state);
    const head = el("header", "", title, this.percent);
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-label", `Progress of ${job.name}`);
    this.log.tabIndex = 0;
    this.log.setAttribute("aria-label", `Log of ${job.name}`);
    const foot = el("footer", "", el("span", "place", "position ", this.position), link);
    this.root = el("article", "card job", head, this.bar, counts, this.log, foot);
    this.root.dataset["job"] = job.name;
  }

  update(): void {
    const { job } = this;
    write(this.percent, `${Math.floor(job.percent)}%`);
    const state = job.done ? "done" : job.last === 0 ? "waiting" : "running";
    write(this.state, state);
    this.state.dataset["state"] = state;
    this.root.dataset["state"] = state;
    this.bar.setAttribute("aria-valuenow", String(Math.floor(job.percent)));
    write(this.facts.lost, String(job.lost + job.unrecovered));
    write(this.facts.duplicated, String(job.duplicated));
    write(this.facts.reordered, String(job.reordered));
    const recovered = [...(job.history > 0 ? [`${job.history} from before`] : []), ...job.recovered];
    write(this.facts.recovered, recovered.join(" + ") || "none needed");
    this.facts.recovered.className = recovered.length === 0 ? "none" : "recovered";
    for (const name of ["lost", "duplicated", "reordered"] as const) {
      this.facts[name].classList.toggle("bad", this.facts[name].textContent !== "0");
    }
    write(this.position, job.position === null ? "not yet" : `${job.position.epoch || "-"}:${job.position.offset}`);
    this.fillCells();
    this.appendLines();
  }

  private fillCells(): void {
    const count = Math.min(this.job.total, CELLS_MAX);
    if (this.cells.length !== count) {
      this.cells = Array.from({ length: count }, () => el("i"));
      this.bar.replaceChildren(...this.cells);
      this.bar.setAttribute("aria-valuemax", "100");
    }
    this.cells.forEach((cell, index) => {
      const step = Math.ceil(((index + 1) * this.job.total) / count);
      const kind = this.job.arrivals.get(step) ?? (step <= this.job.last ? "missing" : "");
      if (cell.className !== kind) {
        cell.className = kind;
      }
    });
  }

  private appendLines(): void {
    const fresh = Math.min(this.job.written - this.written, this.job.lines.length);
    if (fresh === 0) {
      return;
    }
    const { log } = this;
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(...this.job.lines.slice(-fresh).map(line));
    while (log.childElementCount > LINES_MAX) {
      log.firstElementChild?.remove();
    }
    this.written = this.job.written;
    if (atEnd) {
      log.scrollTop = log.scrollHeight;
    }
  }
}

function line({ at, text, kind }: Line): HTMLElement {
  const time = el("time", "", clock(at));
  return el("li", kind, time, el("span", "", text));
}
