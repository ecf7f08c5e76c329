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
  /** The file that the thread begins with. @default this program */
  readonly entry?: string | URL;
  /** How long it may take to stop, in ms. @default 5 s */
  readonly stopTime?: number;
}

/** A thread that has not ended by then, in ms, is ended: sessions take a second at most to say that they go. */
const STOP_TIME = 5_000;

const GONE: Answer = { status: 503, body: { error: 'the speaker does not run' } };

/** The main thread's handle on a speaker in a thread of its own. */
export class SpeakerThread {
  /** Resolves when the thread is no more, however that came to be. */
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  readonly #stopTime: number;
  readonly #asked = new Map<number, (answer: Answer) => void>();
  #nextId = 1;
  #gone = false;

  private constructor(worker: Worker, stopTime: number) {
    this.#worker = worker;
    this.#stopTime = stopTime;
    this.ended = new Promise((resolve) => {
      worker.once('exit', () => {
        this.#dead();
        resolve();
      });
    });
  }

  /** @throws {Error} If the speaker cannot start: its address is taken, the kernel refuses it a socket. Then there is no thread. */
  static async start(options: ThreadOptions): Promise<SpeakerThread> {
    const { config, state, logLevel, entry = threadEntry, stopTime = STOP_TIME } = options;
    const workerData: ThreadData = { tombolo: 'bgp', config, state, logLevel };
    const worker = new Worker(entry, { workerData, trackUnmanagedFds: false });
    const thread = new SpeakerThread(worker, stopTime);
    const started = new Promise<void>((resolve, reject) => {
      let hasStarted = false;
      const fail = (error: Error) => (hasStarted ? options.failed(error) : reject(error));
      worker.on('message', (message: FromThread) => {
        if (message.type === 'started') {
          hasStarted = true;
          resolve();
        } else if (message.type === 'failed') fail(new Error(message.error));
        else thread.#receive(message, options);
      });
      worker.on('error', fail);
      worker.once('exit', (code) => reject(new Error(`the speaker's thread has ended with ${code}`)));
    });
    try {
      await started;
      return thread;
    } catch (error) {
      // Whatever it has opened before it failed would keep it, and this process.
      await worker.terminate();
      throw error;
    }
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
    const limit = setTimeout(() => void this.#worker.terminate(), this.#stopTime);
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
