import { withDescriptor } from '../ebpf/bpf.ts';
import { MapIterator } from '../ebpf/iterator.ts';
import { mapInfo } from '../ebpf/map.ts';
import { openPin } from '../ebpf/pin.ts';
import { pinDirectory } from './directory.ts';
import type { MapName } from './layout.ts';

/** A program that goes through a map, removes what is over, and says what it found as lines of a name and a number. */
export class Collector implements Disposable {
  readonly #iterator: MapIterator;
  /** Entries that the map has room for. */
  readonly limit: number;

  /** @throws {SystemError} `ENOENT` if nothing is loaded. */
  constructor(bpfDir: string, map: MapName, program: string) {
    const directory = pinDirectory(bpfDir);
    const fd = openPin(directory.map(map));
    this.limit = mapInfo(fd).maxEntries;
    this.#iterator = withDescriptor(fd, () =>
      withDescriptor(openPin(directory.program(program)), (program) => new MapIterator(program, fd)),
    );
  }

  run(): ReadonlyMap<string, number> {
    const lines = this.#iterator.run().toString('latin1').trim().split('\n');
    return new Map(
      lines.map((line) => line.split(' ') as [string, string]).map(([name, text]) => [name, Number(text)]),
    );
  }

  [Symbol.dispose](): void {
    this.#iterator.close();
  }
}
