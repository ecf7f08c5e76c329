/** Work that many ask for and that is done once for all of them. */
export interface Settling {
  /** Has the work done when things have settled. */
  soon(): void;
  /** As `soon`, but with the next turn of the event loop: what was to wait longer goes along. */
  now(): void;
  /** Has the work done once more after `ms`, of which the last call says how many. */
  later(ms: number): void;
  /** Drops what has not begun, and waits for what has; from now on calls do nothing. */
  stop(): Promise<void>;
}

/** Runs `work` once for any number of calls that come within `ms`, and never two at a time. */
export function settling(
  ms: number,
  work: () => void | Promise<void>,
  failed: (error: unknown) => void,
): Settling {
  let timer: NodeJS.Timeout | undefined;
  let another: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let again = false;
  let urgent = false;
  let stopped = false;

  const run = async () => {
    try {
      await work();
    } catch (error) {
      failed(error);
    }
  };
  const finished = () => {
    running = undefined;
    if (again) {
      again = false;
      arm();
    }
  };
  const arm = () => {
    if (stopped) return;
    if (running) again = true;
    else {
      timer ??= setTimeout(
        () => {
          timer = undefined;
          urgent = false;
          running = run().then(finished);
        },
        urgent ? 0 : ms,
      );
    }
  };
  return {
    soon: arm,
    now() {
      if (!urgent) {
        urgent = true;
        clearTimeout(timer);
        timer = undefined;
      }
      arm();
    },
    later(wait) {
      clearTimeout(another);
      if (!stopped) another = setTimeout(arm, wait);
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      clearTimeout(another);
      again = false;
      await running;
    },
  };
}
