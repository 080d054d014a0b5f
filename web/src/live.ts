// The connection: the official client, one subscription per job, each from the beginning of its stream.

import { Centrifuge, connectingCodes, disconnectedCodes, type PublicationContext, type SubscribedContext, type Subscription } from "centrifuge";
import { Job } from "./job";

/** Something that happened to the connection, for the timeline. */
export interface Moment {
  readonly at: Date;
  readonly text: string;
  readonly kind: "up" | "down" | "recovered";
}

export type Status = "connecting" | "connected" | "offline";

/** Codes whose text adds nothing: connect was called; the socket closed without a word. */
const PLAIN: ReadonlySet<number> = new Set([connectingCodes.connectCalled, connectingCodes.transportClosed]);
const MOMENTS_MAX = 50;
/** Subscriptions kept; the oldest job that is done goes first. */
const JOBS_MAX = 24;

export class Live {
  /** Newest first. */
  readonly jobs: Job[] = [];
  /** Newest first. */
  readonly moments: Moment[] = [];
  status: Status = "connecting";
  transport = "";
  node = "";
  reconnects = 0;
  private connects = 0;
  private readonly client: Centrifuge;

  constructor(
    endpoint: string,
    private readonly changed: () => void,
  ) {
    this.client = new Centrifuge(endpoint, { minReconnectDelay: 150, maxReconnectDelay: 3000, name: "demo" });
    this.client.on("connecting", ({ code, reason }) => this.down(PLAIN.has(code) ? "" : reason));
    this.client.on("disconnected", ({ code, reason }) => {
      this.down(code === disconnectedCodes.disconnectCalled ? "cut by you" : reason);
      this.status = "offline";
    });
    this.client.on("connected", ({ transport, data }) => this.up(transport, data));
    this.client.connect();
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
    const subscription = this.client.newSubscription(channel, {
      since: { offset: 0, epoch: "" },
      recoverable: true,
      positioned: true,
    });
    this.follow(job, subscription);
    subscription.subscribe();
    this.changed();
    return job;
  }

  /** Cuts the connection and comes back after a while, to show that nothing is missed. */
  cut(milliseconds: number): void {
    if (this.status !== "connected") {
      return;
    }
    this.client.disconnect();
    setTimeout(() => this.client.connect(), milliseconds);
  }

  private follow(job: Job, subscription: Subscription): void {
    let returning = false;
    subscription.on("subscribed", (context: SubscribedContext) => {
      const { streamPosition, wasRecovering, recovered } = context;
      job.subscribed(streamPosition ?? null, returning, recovered || !wasRecovering);
      const isReturn = returning;
      // The client hands out what was recovered after this event, before any microtask.
      queueMicrotask(() => this.caughtUp(job, isReturn));
      returning = true;
      this.changed();
    });
    subscription.on("publication", ({ data, offset }: PublicationContext) => {
      job.publication(data as unknown, offset);
      this.changed();
    });
    subscription.on("error", ({ error }) => {
      job.note(`${error.message} (${error.code}), trying again`, "warning");
      this.changed();
    });
    subscription.on("unsubscribed", ({ code, reason }) => {
      if (code !== 0) {
        job.note(`the server ended the subscription: ${reason} (${code})`, "warning");
      }
      this.changed();
    });
  }

  private caughtUp(job: Job, isReturn: boolean): void {
    job.recoveryEnds();
    if (isReturn) {
      const count = job.recovered.at(-1) ?? 0;
      job.note(`back, recovered ${count}`);
      this.moment(`${job.name}: recovered ${count}`, "recovered");
    }
    this.changed();
  }

  private makeRoom(): void {
    if (this.jobs.length < JOBS_MAX) {
      return;
    }
    const done = this.jobs.findLastIndex((job) => job.done);
    const [gone] = this.jobs.splice(done === -1 ? this.jobs.length - 1 : done, 1);
    const subscription = gone === undefined ? null : this.client.getSubscription(gone.channel);
    if (subscription !== null) {
      this.client.removeSubscription(subscription);
    }
  }

  private up(transport: string, data: unknown): void {
    this.connects += 1;
    this.reconnects = this.connects - 1;
    this.status = "connected";
    this.transport = transport;
    this.node = nodeIn(data);
    const verb = this.connects === 1 ? "connected" : "reconnected";
    this.moment(this.node === "" ? verb : `${verb} to ${this.node}`, "up");
    this.changed();
  }

  private down(reason: string): void {
    if (this.status === "connected") {
      this.moment(reason === "" ? "connection lost" : `connection lost: ${reason}`, "down");
    }
    this.status = "connecting";
    this.changed();
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
