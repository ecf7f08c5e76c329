import { isDeepStrictEqual } from 'node:util';
import type { RouterConfig } from '../bgp/config/router.ts';
import type { Answer } from '../bgp/speaker/api.ts';
import { SpeakerThread, type ThreadOptions } from '../bgp/speaker/thread.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';

const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 30_000;

export interface BgpSpeakerOptions extends Pick<ThreadOptions, 'state' | 'logLevel' | 'write' | 'report'> {
  readonly log: Log;
}

/**
 * The speaker's thread, from the first configuration until the agent leaves. One that cannot start, or that dies, is
 * started again; for its peers that is a restart like any other.
 */
export class BgpSpeaker {
  readonly #options: BgpSpeakerOptions;
  readonly #leaving = new AbortController();
  #config: RouterConfig | undefined;
  #thread: SpeakerThread | undefined;
  #life: Promise<void> | undefined;
  #problem: string | undefined;

  constructor(options: BgpSpeakerOptions) {
    this.#options = options;
  }

  /** Why it does not run as it was told, while that lasts. */
  get problem(): string | undefined {
    return this.#problem;
  }

  configure(config: RouterConfig): void {
    if (isDeepStrictEqual(config, this.#config)) return;
    this.#config = config;
    this.#problem = undefined;
    if (this.#life === undefined) this.#life = this.#live(config);
    else this.#thread?.configure(config);
  }

  ask(method: string, path: string): Promise<Answer> {
    if (this.#thread) return this.#thread.ask(method, path);
    const error = this.#problem ?? 'the speaker has not started yet: not all of its configuration is known';
    return Promise.resolve({ status: 503, body: { error } });
  }

  /** Leaves without a word: the peers keep our routes until the next agent is there, and so does the kernel. */
  async stop(): Promise<void> {
    this.#leaving.abort();
    await this.#thread?.stop('restart');
    await this.#life;
  }

  async #live(first: RouterConfig): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    for (let config = first; !this.#leaving.signal.aborted; config = this.#config ?? config) {
      try {
        const thread = await this.#start(config);
        pause = FIRST_PAUSE_MS;
        await thread.ended;
        if (this.#leaving.signal.aborted) return;
        this.#trouble('the speaker has died, and is started again', this.#problem);
      } catch (error) {
        this.#trouble('the speaker cannot start', messageOf(error));
      }
      this.#thread = undefined;
      await asleep(pause, this.#leaving.signal);
      pause = Math.min(2 * pause, LAST_PAUSE_MS);
    }
  }

  async #start(config: RouterConfig): Promise<SpeakerThread> {
    const thread = await SpeakerThread.start({
      ...this.#options,
      config,
      failed: (error) => this.#trouble('the speaker cannot do as it is told', messageOf(error)),
    });
    this.#problem = undefined;
    this.#thread = thread;
    if (this.#leaving.signal.aborted) await thread.stop('restart');
    else if (this.#config && this.#config !== config) thread.configure(this.#config);
    return thread;
  }

  #trouble(message: string, reason: string | undefined): void {
    this.#problem = reason === undefined ? message : `${message}: ${reason}`;
    this.#options.log.error(message, { reason });
  }
}

function asleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
