// What tests in a browser read: the state behind the page, without its looks.

import type { Live } from "./live";

export interface JobProbe {
  readonly channel: string;
  readonly total: number;
  readonly steps: readonly number[];
  readonly lost: number;
  readonly duplicated: number;
  readonly reordered: number;
  readonly unrecovered: number;
  readonly recovered: readonly number[];
  readonly milliseconds: number;
  readonly done: boolean;
}

export interface Probe {
  readonly jobs: Readonly<Record<string, JobProbe>>;
  /** Steps of all jobs. */
  readonly steps: number;
  /** Lost, duplicated or reordered steps, and recoveries that the server could not make whole. */
  readonly violations: number;
  readonly reconnects: number;
  /** Publications recovered after reconnects. */
  readonly recovered: number;
  readonly status: string;
  readonly node: string;
}

declare global {
  interface Window {
    __tidegate?: Probe;
  }
}

export function probe(live: Live): Probe {
  const jobs = live.jobs.map((job): [string, JobProbe] => {
    const { channel, total, steps, lost, duplicated, reordered, unrecovered, recovered, milliseconds, done } = job;
    return [job.name, { channel, total, steps, lost, duplicated, reordered, unrecovered, recovered, milliseconds, done }];
  });
  return {
    jobs: Object.fromEntries(jobs),
    steps: live.jobs.reduce((sum, job) => sum + job.steps.length, 0),
    violations: live.violations,
    reconnects: live.reconnects,
    recovered: live.recovered.reduce((sum, count) => sum + count, 0),
    status: live.status,
    node: live.node,
  };
}
