/** Changes of plain maps that can be taken back, all together. */
export class UndoLog {
  /** Map, key and former value in turns: flat, because there are millions when a cluster is first programmed. */
  #entries: unknown[] = [];
  #actions: (() => void)[] = [];
  readonly #recording: boolean;

  /** @param recording False for changes that will never be taken back. */
  constructor(recording = true) {
    this.#recording = recording;
  }

  /** Sets an entry, or deletes it where `value` is `undefined`. */
  set<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
    if (this.#recording) this.#entries.push(map, key, map.get(key));
    put(map, key, value);
  }

  /** Adds what is to be done when everything is taken back. */
  onRollback(action: () => void): void {
    if (this.#recording) this.#actions.push(action);
  }

  rollback(): void {
    for (let at = this.#entries.length - 3; at >= 0; at -= 3) {
      put(this.#entries[at] as Map<unknown, unknown>, this.#entries[at + 1], this.#entries[at + 2]);
    }
    for (const action of this.#actions) action();
    this.#entries = [];
    this.#actions = [];
  }
}

function put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
