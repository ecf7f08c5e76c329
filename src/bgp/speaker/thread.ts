import { Worker } from 'node:worker_threads';
import type { LogLevel } from '../../log.ts';
import type { RouterConfig } from '../config/router.ts';
import type { Answer } from './api.ts';
import { threadEntry } from './entryFromModules.ts';
import type { FromThread, ThreadData, ToThread } from './protocol.ts';
import type { SpeakerEvent } from './speaker.ts';

export interface ThreadOptions {
  readonly config: RouterConfig;
  readonly state: string | undefined;
  readonly logLevel: LogLevel;
  /** Gets finished lines of the log. */
  write(line: string): void;
  report?(event: SpeakerEvent): void;
  /** The speaker could not take a configuration, or its thread is dead. */
  failed(error: Error): void;
}

/** A thread that has not ended by then, in ms, is ended: sessions take a second at most to say that they go. */
const STOP_TIME = 5_000;

const GONE: Answer = { status: 503, body: { error: 'the speaker does not run' } };

/** The main thread's handle on a speaker in a thread of its own. */
export class SpeakerThread {
  /** Resolves when the thread is no more, however that came to be. */
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  readonly #asked = new Map<number, (answer: Answer) => void>();
  #nextId = 1;
  #gone = false;

  private constructor(worker: Worker) {
    this.#worker = worker;
    this.ended = new Promise((resolve) => {
      worker.once('exit', () => {
        this.#dead();
        resolve();
      });
    });
  }

  /** @throws {Error} If the speaker cannot start: its address is taken, the kernel refuses it a socket. */
  static async start(options: ThreadOptions): Promise<SpeakerThread> {
    const { config, state, logLevel } = options;
    const workerData: ThreadData = { tombolo: 'bgp', config, state, logLevel };
    const worker = new Worker(threadEntry, { workerData, trackUnmanagedFds: false });
    const thread = new SpeakerThread(worker);
    await new Promise<void>((resolve, reject) => {
      let started = false;
      const fail = (error: Error) => (started ? options.failed(error) : reject(error));
      worker.on('message', (message: FromThread) => {
        if (message.type === 'started') {
          started = true;
          resolve();
        } else if (message.type === 'failed') fail(new Error(message.error));
        else thread.#receive(message, options);
      });
      worker.on('error', fail);
    });
    return thread;
  }

  configure(config: RouterConfig): void {
    this.#tell({ type: 'configure', config });
  }

  /** Asks what `answer` of `api.ts` answers. */
  ask(method: string, path: string): Promise<Answer> {
    if (this.#gone) return Promise.resolve(GONE);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#asked.set(id, resolve);
      this.#tell({ type: 'ask', id, method, path });
    });
  }

  /** Resolves when the thread has ended. */
  async stop(how: 'restart' | 'shutdown', text = ''): Promise<void> {
    this.#tell({ type: 'stop', how, text });
    const limit = setTimeout(() => void this.#worker.terminate(), STOP_TIME);
    await this.ended;
    clearTimeout(limit);
  }

  #tell(message: ToThread): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromThread, { write, report }: ThreadOptions): void {
    if (message.type === 'log') write(message.line);
    else if (message.type === 'event') report?.(message.event);
    else if (message.type === 'answer') {
      this.#asked.get(message.id)?.(message.answer);
      this.#asked.delete(message.id);
    }
  }

  #dead(): void {
    this.#gone = true;
    for (const resolve of this.#asked.values()) resolve(GONE);
    this.#asked.clear();
  }
}
