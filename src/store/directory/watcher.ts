import { type FSWatcher, watch } from 'node:fs';
import { join } from 'node:path';

/** A file is read when its writer has been quiet for so long; writers that rename are never seen half-way. */
const QUIET_MS = 10;

/** A writer that is never quiet is not waited for any longer than this. */
const PATIENCE_MS = 100;

/** What inotify may have lost, and what no inotify reports (a full queue, NFS), is found by looking. */
const RESCAN_MS = 5_000;

export interface WatchedKind {
  directories(): string[];
  scan(): Promise<void>;
  refresh(paths: Iterable<string>): Promise<void>;
}

/**
 * Keeps the picture of a kind's files up to date until `close`.
 *
 * @param failed Told why a scan failed, or why inotify cannot be used; looking from time to time goes on.
 */
export function watchFiles(root: string, kind: WatchedKind, failed: (error: unknown) => void) {
  const watchers = new Map<string, FSWatcher>();
  const touched = new Set<string>();
  let since: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let everything = false;

  const tell = (directory: string, name: string | null) => {
    const path = name === null ? directory : join(directory, name);
    if (name === null || !/\.(yaml|yml|json)$/.test(name)) everything = true;
    else if (!name.startsWith('.')) touched.add(path);
    since ??= performance.now();
    const wait = Math.min(QUIET_MS, since + PATIENCE_MS - performance.now());
    clearTimeout(timer);
    timer = setTimeout(settle, Math.max(wait, 0));
  };

  const settle = () => {
    const paths = [...touched];
    const all = everything;
    touched.clear();
    everything = false;
    since = undefined;
    (all ? look() : kind.refresh(paths)).catch(failed);
  };

  const look = async () => {
    cover();
    await kind.scan();
    // A directory that appeared during the scan is covered before its files are looked for.
    if (cover()) await kind.scan();
  };

  /** Watches directories that are new; says whether there was one. */
  const cover = (): boolean => {
    let added = false;
    for (const directory of [root, ...kind.directories()]) {
      if (watchers.has(directory)) continue;
      try {
        const watcher = watch(directory, { persistent: false }, (_, name) => tell(directory, name));
        const drop = () => {
          watcher.close();
          watchers.delete(directory);
        };
        watcher.on('error', drop);
        watchers.set(directory, watcher);
        added = true;
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) failed(error);
      }
    }
    return added;
  };

  look().catch(failed);
  const rescan = setInterval(() => void look().catch(failed), RESCAN_MS);
  rescan.unref();
  return {
    close() {
      clearTimeout(timer);
      clearInterval(rescan);
      for (const watcher of watchers.values()) watcher.close();
      watchers.clear();
    },
  };
}
