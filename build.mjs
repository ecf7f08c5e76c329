// Builds the JavaScript products of `make build`: single files that run with nothing beside them.
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { build } from 'esbuild';
import { write as writeReasons } from './scripts/generateReasons.mjs';

writeReasons();

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
const commit = process.env.TOMBOLO_COMMIT ?? '';

const addons = ['x64', 'arm64']
  .map((arch) => ({ arch, path: `node_modules/@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node` }))
  .filter(({ path }) => existsSync(path))
  .map(({ arch, path }) => {
    const bytes = readFileSync(path);
    return { arch, bytes, digest: createHash('sha256').update(bytes).digest('hex').slice(0, 16) };
  });

/** What differs between source tree and bundle comes in pairs: where koffi's addon is, where a thread begins. */
const fromBundle = {
  name: 'from-bundle',
  setup({ onResolve }) {
    onResolve({ filter: /FromModules\.ts$/ }, ({ path, resolveDir }) => ({
      path: join(resolveDir, path.replace('FromModules', 'FromBundle')),
    }));
  },
};

const tail = addons
  .map(({ arch, bytes }) => {
    const packed = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
    return `\n//koffi-${arch}:${packed.toString('base64')}`;
  })
  .join('');

const products = [
  { entry: 'src/cli/main.ts', file: 'dist/tombolo' },
  { entry: 'cni/main.ts', file: 'dist/cni/tombolo.cjs' },
].filter(({ entry }) => existsSync(entry));

// Node takes the module kind of a file without extension from the nearest package.json.
mkdirSync('dist', { recursive: true });
writeFileSync('dist/package.json', '{ "type": "commonjs" }\n');

for (const { entry, file } of products) {
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.new`;
  await build({
    entryPoints: [entry],
    outfile: temporary,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    legalComments: 'none',
    minifySyntax: true,
    banner: { js: '#!/usr/bin/env node' },
    define: {
      ADDON_DIGESTS: JSON.stringify(Object.fromEntries(addons.map(({ arch, digest }) => [arch, digest]))),
      TOMBOLO_VERSION: JSON.stringify(version),
      TOMBOLO_COMMIT: JSON.stringify(commit),
    },
    plugins: [fromBundle],
    logLevel: 'warning',
  });
  appendFileSync(temporary, tail);
  chmodSync(temporary, 0o755);
  renameSync(temporary, file);
}
