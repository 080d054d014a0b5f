// Server-sent events without a library: the browser's own EventSource. Where the page stands in every job is in the ids of
// the events, and the browser gives the last one back by itself when its connection broke.

import type { Job } from "./job";
import type { Link, Listener } from "./link";

/** What comes this soon after the start is what was missed. */
const MISSED_MS = 100;
/** After an answer that was no stream the browser gives up, and the page does not. */
const AGAIN_MS = 500;

interface Push {
  readonly connect?: { readonly data?: unknown; readonly subs?: Readonly<Record<string, Subscribed>> };
  readonly channel?: string;
  readonly pub?: { readonly data: unknown; readonly offset?: number };
  readonly unsubscribe?: { readonly code: number; readonly reason: string };
  readonly disconnect?: { readonly reason: string };
}

interface Subscribed {
  readonly epoch?: string;
  readonly offset?: number;
  readonly recovered?: boolean;
  readonly was_recovering?: boolean;
}

export class EventsLink implements Link {
  private readonly jobs = new Set<Job>();
  private source: EventSource | null = null;
  private opening: ReturnType<typeof setTimeout> | undefined;
  private up = false;
  private closed = false;
  private reason = "";

  constructor(
    private readonly endpoint: string,
    private readonly listener: Listener,
  ) {
    this.open(0);
  }

  watch(job: Job): void {
    this.jobs.add(job);
    this.open(0);
  }

  forget(job: Job): void {
    this.jobs.delete(job);
    this.open(0);
  }

  cut(milliseconds: number): void {
    this.lost("cut by you", true);
    this.open(milliseconds);
  }

  close(): void {
    this.closed = true;
    this.stop();
  }

  private stop(): void {
    clearTimeout(this.opening);
    this.source?.close();
    this.source = null;
  }

  /** Opens anew, with all jobs from where the page stands. */
  private open(milliseconds: number): void {
    this.stop();
    if (this.closed) {
      return;
    }
    this.opening = setTimeout(() => {
      const subs = Object.fromEntries([...this.jobs].map(({ channel, position }) => {
        return [channel, { recoverable: true, recover: true, offset: position?.offset ?? 0, epoch: position?.epoch ?? "" }];
      }));
      const url = new URL(this.endpoint, location.href);
      url.searchParams.set("cf_connect", JSON.stringify({ name: "demo", subs }));
      const source = new EventSource(url);
      source.onmessage = ({ data }: MessageEvent<string>) => this.push(JSON.parse(data) as Push);
      source.onerror = () => {
        this.lost(this.reason, false);
        // The listener may have closed this link.
        if (this.source === source && source.readyState === EventSource.CLOSED) {
          this.open(AGAIN_MS);
        }
      };
      this.source = source;
    }, milliseconds);
  }

  private lost(reason: string, final: boolean): void {
    this.up = false;
    this.reason = "";
    this.listener.down(reason, final);
  }

  private push({ connect, channel, pub, unsubscribe, disconnect }: Push): void {
    if (connect !== undefined) {
      this.connected(connect.data, connect.subs ?? {});
    }
    this.reason = disconnect?.reason ?? this.reason;
    const job = [...this.jobs].find((each) => each.channel === channel);
    if (job !== undefined && pub !== undefined) {
      this.listener.publication(job, pub.data, pub.offset);
    }
    if (job !== undefined && unsubscribe !== undefined) {
      this.listener.trouble(job, `the server ended the subscription: ${unsubscribe.reason} (${unsubscribe.code})`);
    }
  }

  private connected(data: unknown, subs: Readonly<Record<string, Subscribed>>): void {
    if (!this.up) {
      this.up = true;
      this.listener.up("events", data);
    }
    for (const job of this.jobs) {
      const { epoch, offset = 0, recovered = false, was_recovering = false } = subs[job.channel] ?? {};
      if (epoch !== undefined) {
        this.listener.subscribed(job, { epoch, offset }, recovered || !was_recovering);
        setTimeout(() => this.listener.caughtUp(job), MISSED_MS);
      }
    }
  }
}
