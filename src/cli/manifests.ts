import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { because } from '../errors.ts';
import { definitionOf, isKind, type Kind, type ObjectOf, parseObject } from '../store/kinds/registry.ts';
import { isRecord } from '../store/schema.ts';

/** Where something was written: `web.yaml`, `web.yaml document 2`. */
export interface Manifest {
  readonly source: string;
  readonly object: ObjectOf<Kind>;
}

/**
 * Reads objects from files, directories (their `.yaml`, `.yml` and `.json` files, in order), and `-`, standard
 * input. A file may hold several documents, and lists.
 *
 * @param namespace For objects that need one and name none.
 * @throws {Error} Naming everything that cannot be accepted, a line each.
 */
export function readManifests(paths: readonly string[], namespace: string): Manifest[] {
  const faults: string[] = [];
  const manifests = paths.flatMap(files).flatMap((path) =>
    documents(path).flatMap(({ source, value }) => {
      try {
        return [{ source, object: parseObject(withNamespace(value, namespace)) }];
      } catch (error) {
        faults.push(because(`read ${source}`, error).message);
        return [];
      }
    }),
  );
  if (faults.length > 0) throw new Error(faults.join('\n'));
  if (manifests.length === 0) throw new Error(`Cannot read ${paths.join(', ')}: there are no objects`);
  return manifests;
}

function files(path: string): string[] {
  if (path === '-' || !isDirectory(path)) return [path];
  return readdirSync(path, { withFileTypes: true })
    .filter(({ name }) => !name.startsWith('.'))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      if (entry.isDirectory()) return files(join(path, entry.name));
      return /\.(yaml|yml|json)$/.test(entry.name) ? [join(path, entry.name)] : [];
    });
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw because(`read ${path}`, error);
  }
}

function documents(path: string): { source: string; value: unknown }[] {
  const name = path === '-' ? 'standard input' : path;
  const parsed = [...parseAllDocuments(readFileSync(path === '-' ? 0 : path, 'utf8'))];
  return parsed.flatMap((document, index) => {
    const source = parsed.length > 1 ? `${name} document ${index + 1}` : name;
    const [error] = document.errors;
    if (error) throw because(`read ${source}`, error.message.split('\n')[0]?.replace(/:$/, ''));
    const value: unknown = document.toJS();
    if (value === null) return [];
    if (!isRecord(value) || value.kind !== 'List' || !Array.isArray(value.items)) return [{ source, value }];
    return value.items.map((item, at) => ({ source: `${source} item ${at + 1}`, value: item }));
  });
}

function withNamespace(value: unknown, namespace: string): unknown {
  if (!isRecord(value) || !isKind(value.kind) || !isRecord(value.metadata)) return value;
  if (!definitionOf(value.kind).namespaced) return value;
  return { ...value, metadata: { namespace, ...value.metadata } };
}
