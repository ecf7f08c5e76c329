import { createHash } from 'node:crypto';
import { closeSync, constants, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { messageOf } from '../errors.ts';

/** Set by the build: the first 16 hex digits of the SHA-256 of the addon, per architecture. */
declare const ADDON_DIGESTS: Record<string, string>;

/** Executable mounts only: /run is `noexec` on Debian. Readable by root alone, since what lies here is run. */
const CACHE = '/var/lib/tombolo/native';

/** `O_TMPFILE` of open(2): a file without a name, gone when its descriptor closes. */
const O_TMPFILE = 0o20200000;

/**
 * Loads koffi's native addon from the bundle itself, where the build has put it as a comment at the end of
 * the file: a comment costs the parser nothing, a string literal of that size costs 12 ms at every start.
 *
 * The first run writes the addon to {@link CACHE}; later runs open it there. Without a writable cache the
 * addon lives in a nameless temporary file for as long as the process.
 *
 * @throws {Error} If the bundle carries no addon for this architecture, or none can be loaded.
 */
export function loadAddon(): unknown {
  const digest = ADDON_DIGESTS[process.arch];
  if (digest === undefined) throw new Error(`Cannot load koffi: the bundle has none for ${process.arch}`);
  const cached = join(CACHE, `koffi-${digest}.node`);
  try {
    return open(cached);
  } catch {
    // Not written yet, or damaged: both are mended by writing it anew.
  }
  const addon = extract(process.arch, digest);
  try {
    writeCache(cached, addon);
    return open(cached);
  } catch {
    return openNameless(addon);
  }
}

function open(path: string): unknown {
  const module = { exports: {} };
  process.dlopen(module, path);
  return module.exports;
}

function extract(arch: string, digest: string): Buffer {
  const bundle = readFileSync(__filename, 'latin1');
  const marker = `\n//koffi-${arch}:`;
  const start = bundle.lastIndexOf(marker);
  if (start < 0) throw new Error(`Cannot load koffi: ${__filename} is cut short`);
  const end = bundle.indexOf('\n', start + marker.length);
  const text = bundle.slice(start + marker.length, end < 0 ? undefined : end);
  const addon = brotliDecompressSync(Buffer.from(text, 'base64'));
  const actual = createHash('sha256').update(addon).digest('hex').slice(0, 16);
  if (actual !== digest) throw new Error(`Cannot load koffi: ${__filename} is damaged (digest ${actual})`);
  return addon;
}

function writeCache(path: string, addon: Buffer): void {
  mkdirSync(CACHE, { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  const fd = openSync(temporary, 'w', 0o500);
  try {
    writeSync(fd, addon);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
}

function openNameless(addon: Buffer): unknown {
  try {
    const fd = openSync(tmpdir(), O_TMPFILE | constants.O_RDWR, 0o500);
    writeSync(fd, addon);
    return open(`/proc/self/fd/${fd}`);
  } catch (error) {
    throw new Error(
      `Cannot load koffi: neither ${CACHE} nor ${tmpdir()} will hold it (${messageOf(error)})`,
      {
        cause: error,
      },
    );
  }
}
