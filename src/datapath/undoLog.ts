/** Changes of plain maps that can be taken back, all together. */
export class UndoLog {
  #undo: (() => void)[] = [];

  /** Sets an entry, or deletes it where `value` is `undefined`. Returns what was there. */
  set<K, V>(map: Map<K, V>, key: K, value: V | undefined): V | undefined {
    const was = map.get(key);
    put(map, key, value);
    this.#undo.push(() => put(map, key, was));
    return was;
  }

  /** Adds what is to be done when everything is taken back. */
  onRollback(undo: () => void): void {
    this.#undo.push(undo);
  }

  rollback(): void {
    for (const undo of this.#undo.reverse()) undo();
    this.#undo = [];
  }
}

function put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
