import { createHash, randomUUID } from 'node:crypto';
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import { messageOf } from '../../errors.ts';
import { definitionOf, InvalidObject, type Kind, type ObjectOf, parseObject } from '../kinds/registry.ts';
import { isRecord } from '../schema.ts';
import type { Key } from '../store.ts';

/** `DIR/<Kind>/[<namespace>/]<name>.yaml` */
export function pathOf(directory: string, kind: Kind, { namespace, name }: Key): string {
  return join(directory, kind, ...(namespace === undefined ? [] : [namespace]), `${name}.yaml`);
}

/**
 * Reads the one object of a file. Its resource version is a digest of the bytes, so that every process
 * knows it by the same one.
 *
 * @throws {InvalidObject} If the file holds anything but one valid object whose kind, namespace and name are
 *   those of its path.
 */
export function readObject(path: string, kind: Kind): ObjectOf<Kind> {
  return parseFile(readFileSync(path), path, kind);
}

function parseFile(bytes: Buffer, path: string, kind: Kind): ObjectOf<Kind> {
  const value = onlyDocument(bytes.toString('utf8'), path);
  if (!isRecord(value) || !isRecord(value.metadata)) {
    const reason = 'expected an object with apiVersion, kind and metadata';
    throw new InvalidObject(path, [{ path: '', reason }]);
  }
  const folder = definitionOf(kind).namespaced ? basename(dirname(path)) : undefined;
  const metadata = {
    uid: derivedUid(path),
    ...(folder !== undefined && { namespace: folder }),
    ...value.metadata,
    resourceVersion: digestOf(bytes),
  };
  const problems = [
    { path: 'kind', expected: kind, value: value.kind },
    { path: 'metadata.namespace', expected: folder, value: metadata.namespace },
    { path: 'metadata.name', expected: basename(path, '.yaml'), value: value.metadata.name },
  ]
    .filter(({ expected, value }) => expected !== undefined && expected !== value)
    .map(({ path, expected, value }) => ({ path, reason: `the path says ${expected}`, value }));
  if (problems.length > 0) throw new InvalidObject(path, problems);
  return named(path, () => parseObject({ ...value, metadata }));
}

function onlyDocument(text: string, path: string): unknown {
  // What stands before the first separator and after the last one is often nothing, or comments.
  const values = valuesOf(text, path).filter((value) => value !== null);
  if (values.length === 1) return values[0];
  const [reason, value] =
    values.length === 0
      ? ['the file is empty']
      : ['expected one object per file; tombolo apply -f takes many apart', values.length];
  throw new InvalidObject(path, [{ path: '', reason, value }]);
}

function valuesOf(text: string, path: string): unknown[] {
  try {
    return [...parseAllDocuments(text)].map((document) => {
      const [error] = document.errors;
      if (error) throw error;
      return document.toJS();
    });
  } catch (error) {
    const [line = ''] = messageOf(error).split('\n');
    throw new InvalidObject(path, [{ path: '', reason: `not YAML: ${line.replace(/:$/, '')}` }]);
  }
}

function named<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof InvalidObject)) throw error;
    throw new InvalidObject(path, error.problems);
  }
}

/** A file written by hand has no uid; its place in the tree identifies it as long as it is there. */
function derivedUid(path: string): string {
  const hex = createHash('sha256').update(path).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  );
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

/** Replaces the file in one step: whoever reads sees the old object or the new one, also after a crash. */
export function writeObject(path: string, object: ObjectOf<Kind>): void {
  const { apiVersion, kind, metadata, ...body } = object;
  const { resourceVersion: _, ...kept } = metadata;
  const text = stringify({ apiVersion, kind, metadata: kept, ...body }, { lineWidth: 0 });
  mkdirSync(dirname(path), { recursive: true });
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}`);
  const fd = openSync(temporary, 'wx', kind === 'Secret' ? 0o600 : 0o644);
  try {
    // All of it or an error: a disk that is nearly full takes the beginning, and says so only by the count.
    writeFileSync(fd, text);
    fdatasyncSync(fd);
    renameSync(temporary, path);
  } catch (error) {
    unlinkSync(temporary);
    throw error;
  } finally {
    closeSync(fd);
  }
}
