// The connection: one way to the server at a time, or a new way after every break, and the jobs that it carries, each from
// the beginning of its stream.

import { EventsLink } from "./events";
import { Job, type Position } from "./job";
import { LibraryLink } from "./library";
import type { Link, Listener } from "./link";

/** Something that happened to the connection, for the timeline. */
export interface Moment {
  readonly at: Date;
  readonly text: string;
  readonly kind: "up" | "down" | "recovered";
}

export type Status = "connecting" | "connected" | "offline";

/** Ways to the server, in the order in which they are changed. `events` is the browser's own EventSource. */
export const TRANSPORTS = ["websocket", "http_stream", "events", "sse"] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** Before another way is tried. */
const CHANGE_MS = 150;
const MOMENTS_MAX = 50;
/** Subscriptions kept; the oldest job that is done goes first. */
const JOBS_MAX = 24;

export class Live implements Listener {
  /** Newest first. */
  readonly jobs: Job[] = [];
  /** Newest first. */
  readonly moments: Moment[] = [];
  status: Status = "connecting";
  transport = "";
  node = "";
  reconnects = 0;
  private connects = 0;
  private link: Link;

  /** With `changing` every break of the connection brings another way. */
  constructor(
    private kind: Transport,
    private readonly changing: boolean,
    private readonly changed: () => void,
  ) {
    this.link = this.open();
  }

  get recovered(): number[] {
    return this.jobs.flatMap((job) => job.recovered);
  }

  get violations(): number {
    return this.jobs.reduce((sum, job) => sum + job.violations, 0);
  }

  /** Watches a job from its first step; nothing happens when it is watched already. */
  watch(name: string, channel: string): Job {
    const known = this.jobs.find((job) => job.name === name);
    if (known !== undefined) {
      return known;
    }
    this.makeRoom();
    const job = new Job(name, channel);
    this.jobs.unshift(job);
    this.link.watch(job);
    this.changed();
    return job;
  }

  /** Cuts the connection and comes back after a while, to show that nothing is missed. */
  cut(milliseconds: number): void {
    if (this.status !== "connected") {
      return;
    }
    this.link.cut(milliseconds);
  }

  up(transport: string, data: unknown): void {
    this.connects += 1;
    this.reconnects = this.connects - 1;
    this.status = "connected";
    this.transport = transport;
    this.node = nodeIn(data);
    const verb = this.connects === 1 ? "connected" : "reconnected";
    const way = this.changing ? `, ${transport}` : "";
    this.moment(this.node === "" ? `${verb}${way}` : `${verb} to ${this.node}${way}`, "up");
    this.changed();
  }

  down(reason: string, final: boolean): void {
    const lost = this.status === "connected";
    if (lost) {
      this.moment(reason === "" ? "connection lost" : `connection lost: ${reason}`, "down");
    }
    this.status = final ? "offline" : "connecting";
    if (lost && !final && this.changing) {
      this.change();
    }
    this.changed();
  }

  subscribed(job: Job, position: Position | null, whole: boolean): void {
    job.subscribed(position, whole);
    this.changed();
  }

  caughtUp(job: Job): void {
    const count = job.recoveryEnds();
    if (count !== null) {
      job.note(`back, recovered ${count}`);
      this.moment(`${job.name}: recovered ${count}`, "recovered");
    }
    this.changed();
  }

  publication(job: Job, data: unknown, offset: number | undefined): void {
    job.publication(data, offset);
    this.changed();
  }

  trouble(job: Job, text: string): void {
    job.note(text, "warning");
    this.changed();
  }

  private open(): Link {
    const url = (path: string) => new URL(path, location.href).href;
    switch (this.kind) {
      case "events":
        return new EventsLink(url("/sse"), this);
      case "websocket":
        return new LibraryLink(
          { transport: "websocket", endpoint: url("/connection/websocket").replace(/^http/, "ws") },
          url("/emulation"),
          this,
        );
      case "http_stream":
      case "sse":
        return new LibraryLink(
          { transport: this.kind, endpoint: url(`/connection/${this.kind}`) },
          url("/emulation"),
          this,
        );
    }
  }

  /** Goes on by the next way, from where the page stands. */
  private change(): void {
    this.link.close();
    this.kind = TRANSPORTS[(TRANSPORTS.indexOf(this.kind) + 1) % TRANSPORTS.length] ?? "websocket";
    setTimeout(() => {
      this.link = this.open();
      this.jobs.forEach((job) => this.link.watch(job));
    }, CHANGE_MS);
  }

  private makeRoom(): void {
    if (this.jobs.length < JOBS_MAX) {
      return;
    }
    const done = this.jobs.findLastIndex((job) => job.done);
    const [gone] = this.jobs.splice(done === -1 ? this.jobs.length - 1 : done, 1);
    if (gone !== undefined) {
      this.link.forget(gone);
    }
  }

  private moment(text: string, kind: Moment["kind"]): void {
    this.moments.unshift({ at: new Date(), text, kind });
    this.moments.length = Math.min(this.moments.length, MOMENTS_MAX);
  }
}

/** The node's name is in the answer to connect: whatever is asked beside it, a balancer sends elsewhere. */
function nodeIn(data: unknown): string {
  const node = typeof data === "object" && data !== null && "node" in data ? data.node : null;
  return typeof node === "string" ? node : "";
}
