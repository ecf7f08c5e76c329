import type { IncomingMessage, ServerResponse } from 'node:http';
import { handleVerb } from '../../cni/agentHandler.ts';
import type { Answer } from '../../cni/agentSocket.ts';
import { answer, success } from '../../cni/answer.ts';
import type { Node } from '../../cni/node.ts';
import type { Variables } from '../../cni/protocol/environment.ts';
import { serve } from '../../cni/verbs.ts';
import type { Log } from '../log.ts';
import { Counter, Histogram, type Metric } from './metrics.ts';

/** Seconds: a warm ADD takes a few milliseconds, a DEL waits some 20 for the kernel. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30];

/** Serves `POST /cni/<verb>` on a node, and counts. */
export class Verbs {
  readonly #node: Node;
  readonly #log: Log;
  readonly #calls = new Counter();
  readonly #seconds = new Histogram('verb', BOUNDS);
  readonly #changed: () => void;
  #underWay = 0;

  /** @param changed Called after each verb that may have changed something. */
  constructor(node: Node, log: Log, changed: () => void) {
    this.#node = node;
    this.#log = log;
    this.#changed = changed;
  }

  handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    return handleVerb(request, response, this.serve);
  }

  /** What the launcher calls for, whichever way it comes. */
  readonly serve = (variables: Variables, input: string): Promise<Answer> => {
    const { CNI_COMMAND: verb = '', CNI_CONTAINERID: containerID, CNI_IFNAME: ifName } = variables;
    return this.#measured(verb, { containerID, ifName }, () =>
      answer(
        variables,
        () => input,
        async (call) => success(await serve(call, this.#node)),
      ),
    );
  };

  metrics(): Metric[] {
    return [
      {
        name: 'tombolo_cni_calls_total',
        help: 'CNI calls served, by verb and error code; 0 is success.',
        type: 'counter',
        samples: this.#calls.samples(),
      },
      {
        name: 'tombolo_cni_seconds',
        help: 'How long CNI calls took.',
        type: 'histogram',
        samples: this.#seconds.samples(),
      },
      {
        name: 'tombolo_cni_calls_under_way',
        help: 'CNI calls being served now.',
        type: 'gauge',
        samples: [{ value: this.#underWay }],
      },
    ];
  }

  async #measured(verb: string, of: Record<string, unknown>, work: () => Promise<Answer>): Promise<Answer> {
    const start = performance.now();
    this.#underWay++;
    const answered = await work().finally(() => this.#underWay--);
    const seconds = (performance.now() - start) / 1000;
    // The caller waits for the answer, not for what is said about it.
    setImmediate(() => this.#tell(verb, of, answered, seconds));
    return answered;
  }

  #tell(verb: string, of: Record<string, unknown>, answered: Answer, seconds: number): void {
    const { code, msg } = answered.ok ? { code: 0, msg: undefined } : errorOf(answered.body);
    this.#calls.add({ verb, code });
    this.#seconds.observe(verb, seconds);
    const milliseconds = Math.round(seconds * 1e4) / 10;
    if (msg === undefined) this.#log.info('served', { verb, ...of, milliseconds });
    else this.#log.error('refused', { verb, ...of, milliseconds, code, reason: msg });
    if (verb !== 'STATUS' && verb !== 'CHECK' && verb !== 'VERSION') this.#changed();
  }
}

function errorOf(body: string): { code: number; msg: string } {
  const { code, msg }: { code: number; msg: string } = JSON.parse(body);
  return { code, msg };
}
