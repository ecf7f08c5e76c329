import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestNamespace } from '../kernel/namespaces.ts';

const LIMIT = 2000;
/** The kernel hands captured packets over in blocks. */
const SETTLE_MS = 300;

/** What passes a device, as tcpdump prints it: one line for each packet, link level first. */
export class Capture {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #text = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#ended = once(child, 'close');
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
    });
  }

  /**
   * Captures from here on.
   *
   * @param filter As in pcap-filter(7).
   */
  static async start(namespace: TestNamespace, device: string, filter: string): Promise<Capture> {
    // Not promiscuous: a bridge that is sees what it only switches as if it were for itself.
    const words = [
      '-n',
      '-e',
      '-l',
      '-t',
      '-p',
      '--immediate-mode',
      '-c',
      String(LIMIT),
      '-i',
      device,
      filter,
    ];
    const child = namespace.start('tcpdump', words, { stdio: ['ignore', 'pipe', 'pipe'] });
    const capture = new Capture(child);
    await new Promise<void>((resolve, reject) => {
      let said = '';
      child.stderr?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('listening on')) resolve();
      });
      child.once('exit', () => reject(new Error(`Cannot capture on ${device}: ${said.trim()}`)));
    });
    return capture;
  }

  /** Ends it. @returns A line for each packet. */
  async stop(): Promise<string[]> {
    await sleep(SETTLE_MS);
    this.#child.kill('SIGINT');
    await this.#ended;
    return this.#text.split('\n').filter((line) => line !== '');
  }
}
