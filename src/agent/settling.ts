/** Runs `work` once for any number of calls that come within `ms`, and never two at a time. */
export function settling(ms: number, work: () => void | Promise<void>, failed: (error: unknown) => void) {
  let timer: NodeJS.Timeout | undefined;
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
    /** As `soon`, but with the next turn of the event loop: what was to wait longer goes along. */
    now() {
      if (!urgent) {
        urgent = true;
        clearTimeout(timer);
        timer = undefined;
      }
      arm();
    },
    /** Drops what has not begun, and waits for what has; from now on calls do nothing. */
    async stop() {
      stopped = true;
      clearTimeout(timer);
      again = false;
      await running;
    },
  };
}
