import type { TestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

interface Of {
  /** How many suites it is in. */
  readonly nesting: number;
  readonly name: string;
}

/** What a test file tells the runner while it runs. */
export type Told =
  | (Of & { readonly type: 'began' | 'passed' | 'skipped' | 'suite passed' })
  | (Of & { readonly type: 'failed'; readonly error: string });

/** Of a test that did nothing wrong itself: another one says more. */
const BY_OTHERS = new Set(['subtestsFailed', 'cancelledByParent']);

/** A reporter for node:test that tells the runner, by message, what begins and how it ends. */
export default async function* tell(events: AsyncIterable<TestEvent>): AsyncGenerator<never> {
  // A file whose runner is gone is of no use to anybody.
  process.on('disconnect', () => process.exit(1));
  process.channel?.unref();
  for await (const event of events) {
    const told = translated(event);
    if (told) process.send?.(told);
  }
}

function translated(event: TestEvent): Told | undefined {
  if (event.type === 'test:dequeue') return { type: 'began', ...of(event.data) };
  if (event.type === 'test:pass') {
    const isSuite = event.data.details.type === 'suite';
    const type = isSuite ? 'suite passed' : event.data.skip === undefined ? 'passed' : 'skipped';
    return { type, ...of(event.data) };
  }
  if (event.type !== 'test:fail') return undefined;
  const { error } = event.data.details;
  if ('failureType' in error && BY_OTHERS.has(String(error.failureType))) return undefined;
  const cause = error.cause ?? error;
  return {
    type: 'failed',
    ...of(event.data),
    error: typeof cause === 'string' ? cause : inspect(cause, { depth: 6 }),
  };
}

function of({ nesting, name }: Of): Of {
  return { nesting, name };
}
