// The official client, one subscription per job.

import { Centrifuge, connectingCodes, disconnectedCodes, type PublicationContext, type SubscribedContext, type TransportEndpoint } from "centrifuge";
import type { Job } from "./job";
import type { Link, Listener } from "./link";

/** Codes whose text adds nothing: connect was called; the socket closed without a word. */
const PLAIN: ReadonlySet<number> = new Set([connectingCodes.connectCalled, connectingCodes.transportClosed]);

export class LibraryLink implements Link {
  private readonly client: Centrifuge;

  constructor(
    transport: TransportEndpoint,
    emulation: string,
    private readonly listener: Listener,
  ) {
    this.client = new Centrifuge([transport], {
      minReconnectDelay: 150,
      maxReconnectDelay: 3000,
      name: "demo",
      emulationEndpoint: emulation,
    });
    this.client.on("connecting", ({ code, reason }) => listener.down(PLAIN.has(code) ? "" : reason, false));
    this.client.on("disconnected", ({ code, reason }) => {
      listener.down(code === disconnectedCodes.disconnectCalled ? "cut by you" : reason, true);
    });
    this.client.on("connected", ({ transport: name, data }) => listener.up(name, data));
    this.client.connect();
  }

  watch(job: Job): void {
    const { listener } = this;
    const subscription = this.client.newSubscription(job.channel, {
      since: job.position ?? { offset: 0, epoch: "" },
      recoverable: true,
      positioned: true,
    });
    subscription.on("subscribed", ({ streamPosition, wasRecovering, recovered }: SubscribedContext) => {
      listener.subscribed(job, streamPosition ?? null, recovered || !wasRecovering);
      // The client hands out what was recovered after this event, before any microtask.
      queueMicrotask(() => listener.caughtUp(job));
    });
    subscription.on("publication", ({ data, offset }: PublicationContext) => {
      listener.publication(job, data as unknown, offset);
    });
    subscription.on("error", ({ error }) => listener.trouble(job, `${error.message} (${error.code}), trying again`));
    subscription.on("unsubscribed", ({ code, reason }) => {
      if (code !== 0) {
        listener.trouble(job, `the server ended the subscription: ${reason} (${code})`);
      }
    });
    subscription.subscribe();
  }

  forget(job: Job): void {
    const subscription = this.client.getSubscription(job.channel);
    if (subscription !== null) {
      this.client.removeSubscription(subscription);
    }
  }

  cut(milliseconds: number): void {
    this.client.disconnect();
    setTimeout(() => this.client.connect(), milliseconds);
  }

  close(): void {
    for (const subscription of Object.values(this.client.subscriptions())) {
      subscription.removeAllListeners();
    }
    this.client.removeAllListeners();
    this.client.disconnect();
  }
}
