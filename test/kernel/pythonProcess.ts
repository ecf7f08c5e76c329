import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestNamespace } from './namespaces.ts';

const READ_EVALUATE_PRINT = `
import ctypes, os, signal, socket, struct, sys
for line in sys.stdin:
    try:
        try: result = eval(line, globals())
        except SyntaxError: result = exec(line, globals())
    except OSError as error: result = os.strerror(error.errno)
    print(result, flush=True)
`;

import { within } from './within.ts';

/** Python in a network namespace, line by line: its sockets do what those of Node hide. */
export class PythonProcess {
  readonly #child: ChildProcess;
  #output = '';
  #heard: () => void = () => {};

  constructor(namespace: TestNamespace) {
    this.#child = namespace.start('python3', ['-c', READ_EVALUATE_PRINT], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#heard();
    });
    this.#child.once('exit', () => this.#heard());
  }

  /** Moves the process, and with it the sockets it opens from now on. */
  enter(cgroup: string): void {
    writeFileSync(join(cgroup, 'cgroup.procs'), String(this.#child.pid));
  }

  /** Runs one line; what it evaluates to, or the error of the system in words. */
  async run(line: string): Promise<string> {
    this.#output = '';
    this.#child.stdin?.write(`${line}\n`);
    while (!this.#output.endsWith('\n')) {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null)
        throw new Error(`Cannot run in Python: it has ended (${line})`);
      const heard = new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
      await within(`Python to answer ${line}`, heard);
    }
    return this.#output.trimEnd();
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }
}
