// What carries publications to the page, and what it tells.

import type { Job, Position } from "./job";

/** A way to the server. */
export interface Link {
  /** Follows a job from where the page stands in it. */
  watch(job: Job): void;
  forget(job: Job): void;
  /** Goes away and comes back by itself after a while. */
  cut(milliseconds: number): void;
  /** Ends; tells nothing any more. */
  close(): void;
}

/** Who is told. */
export interface Listener {
  up(transport: string, data: unknown): void;
  /** The connection is lost, and tried again unless `final`. */
  down(reason: string, final: boolean): void;
  /** What was missed follows, until `caughtUp`. `whole`: all of it. */
  subscribed(job: Job, position: Position | null, whole: boolean): void;
  caughtUp(job: Job): void;
  publication(job: Job, data: unknown, offset: number | undefined): void;
  trouble(job: Job, text: string): void;
}
