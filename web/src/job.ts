// What this page knows of one job, and whether it saw every step once and in order. No page, no socket.

/** One step as the worker publishes it. */
export interface Step {
  readonly step: number;
  readonly total: number;
  readonly message: string;
}

/** How a step came: as it happened, or by recovery of what was missed. */
export type Arrival = "live" | "recovered";

/** A line of the job's log. */
export interface Line {
  readonly at: Date;
  readonly text: string;
  readonly kind: Arrival | "note" | "warning";
}

/** Place in the channel's stream. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

export const LINES_MAX = 300;
const STEPS_MAX = 100_000;

export class Job {
  /** Steps in the order of their arrival. */
  readonly steps: number[] = [];
  /** How each step came first. */
  readonly arrivals = new Map<number, Arrival>();
  /** Publications recovered by each return, in order; the first subscription is not one. */
  readonly recovered: number[] = [];
  /** Publications that were there before this page. */
  history = 0;
  readonly lines: Line[] = [];
  /** Lines ever written; `lines` keeps the last of them. */
  written = 0;
  total = 100;
  last = 0;
  duplicated = 0;
  reordered = 0;
  /** Known to be gone: the server said that it cannot recover. */
  unrecovered = 0;
  position: Position | null = null;
  /** From the first step to the latest, as they came. */
  milliseconds = 0;
  private begun = false;
  private recovering = false;
  private began = 0;

  constructor(
    readonly name: string,
    readonly channel: string,
  ) {}

  /** Steps below the highest that never came. */
  get lost(): number {
    return this.last - this.arrivals.size;
  }

  get violations(): number {
    return this.lost + this.duplicated + this.reordered + this.unrecovered;
  }

  get done(): boolean {
    return this.last >= this.total;
  }

  get percent(): number {
    return Math.min(100, (this.arrivals.size / this.total) * 100);
  }

  /** The subscription is on. What was missed follows, until `recoveryEnds`. */
  subscribed(position: Position | null, whole: boolean): void {
    const returning = this.begun;
    this.begun = true;
    this.recovering = true;
    if (position !== null) {
      this.position = { epoch: position.epoch, offset: Math.max(position.offset, this.position?.offset ?? 0) };
    }
    if (returning) {
      this.recovered.push(0);
    }
    if (!whole) {
      this.unrecovered += returning ? 1 : 0;
      this.note("the server kept only the later part of this job", "warning");
    }
  }

  /** What comes from now on comes live. How much this return brought; `null` when it was none. */
  recoveryEnds(): number | null {
    const ended = this.recovering;
    this.recovering = false;
    return ended ? (this.recovered.at(-1) ?? null) : null;
  }

  /** A publication of the channel. */
  publication(data: unknown, offset: number | undefined): void {
    const step = parseStep(data);
    if (step === null) {
      this.note("a publication that is no step", "warning");
      return;
    }
    const arrival: Arrival = this.recovering ? "recovered" : "live";
    if (arrival === "recovered") {
      if (this.recovered.length === 0) {
        this.history += 1;
      } else {
        this.recovered.push((this.recovered.pop() ?? 0) + 1);
      }
    }
    if (offset !== undefined && this.position !== null) {
      this.position = { epoch: this.position.epoch, offset };
    }
    this.count(step, arrival);
  }

  note(text: string, kind: Line["kind"] = "note"): void {
    this.lines.push({ at: new Date(), text, kind });
    this.written += 1;
    if (this.lines.length > LINES_MAX) {
      this.lines.shift();
    }
  }

  private count(step: Step, arrival: Arrival): void {
    this.total = step.total;
    this.steps.push(step.step);
    this.began ||= performance.now();
    this.milliseconds = performance.now() - this.began;
    if (this.steps.length > STEPS_MAX) {
      this.steps.shift();
    }
    if (this.arrivals.has(step.step)) {
      this.duplicated += 1;
      this.note(`step ${step.step} came twice`, "warning");
      return;
    }
    if (step.step < this.last) {
      this.reordered += 1;
      this.note(`step ${step.step} came after step ${this.last}`, "warning");
    } else if (step.step > this.last + 1) {
      this.note(`nothing between step ${this.last} and step ${step.step}`, "warning");
    }
    this.arrivals.set(step.step, arrival);
    this.last = Math.max(this.last, step.step);
    this.note(`${String(step.step).padStart(3)}/${step.total}  ${step.message}`, arrival);
  }
}

function parseStep(data: unknown): Step | null {
  if (typeof data !== "object" || data === null) {
    return null;
  }
  const { step, total, message } = data as Partial<Record<keyof Step, unknown>>;
  const count = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 1;
  if (!count(step) || !count(total) || total > STEPS_MAX || step > total) {
    return null;
  }
  return { step, total, message: typeof message === "string" ? message : "" };
}
