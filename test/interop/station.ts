import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatIP } from '../../src/address/ip.ts';
import { formatPrefix } from '../../src/address/prefix.ts';
import { BmpFramer, decodeBmp } from '../../src/bgp/bmp/decode.ts';
import type { BmpMessage, RouteMonitoring } from '../../src/bgp/bmp/message.ts';
import type { BmpView, PeerHeader } from '../../src/bgp/bmp/peerHeader.ts';
import type { Nlri } from '../../src/bgp/wire/nlri.ts';
import { decodeUpdate } from '../../src/bgp/wire/update.ts';
import type { Daemon, Router } from './router.ts';

const PORT = 11019;

/** A station that writes down what routers say, a file per connection. */
export class StationHost {
  readonly #router: Router;
  readonly #daemon: Daemon;
  readonly #directory: string;

  constructor(router: Router, name: string) {
    this.#router = router;
    this.#directory = join(router.directory, name);
    const script = `const fs = require('fs'); fs.mkdirSync(${JSON.stringify(this.#directory)}); let n = 0;
      require('net').createServer((s) => { const f = fs.openSync(${JSON.stringify(`${this.#directory}/`)} + n++, 'w');
        s.on('data', (d) => fs.writeSync(f, d)); s.on('error', () => {}); }).listen(${PORT}, '0.0.0.0');`;
    this.#daemon = router.start(name, process.execPath, ['-e', script]);
  }

  get address(): string {
    return `${this.#router.ipv4}:${PORT}`;
  }

  /** The bytes of the n-th connection so far. */
  bytes(connection: number): Buffer {
    const file = join(this.#directory, String(connection));
    return existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
  }

  stop(): Promise<void> {
    return this.#daemon.kill();
  }
}

/** What a station makes of a connection; it forgives nothing. */
export class StrictStation {
  readonly messages: BmpMessage[] = [];
  /** By peer and view: prefix → next hop. */
  readonly tables = new Map<string, Map<string, string>>();
  readonly up = new Set<string>();
  /** `peer view family` of each End-of-RIB. */
  readonly ended = new Set<string>();

  constructor(bytes: Buffer) {
    new BmpFramer().push(bytes, (message) => {
      const decoded = decodeBmp(message);
      if (this.messages.length === 0)
        assert.equal(decoded.type, 'initiation', 'it begins with who is speaking');
      else assert.notEqual(decoded.type, 'initiation', 'it says only once who is speaking');
      this.messages.push(decoded);
      this.#take(decoded);
    });
  }

  table(peer: string, view: BmpView): Record<string, string> {
    return Object.fromEntries([...(this.tables.get(`${peer} ${view}`) ?? [])].sort());
  }

  #take(message: BmpMessage): void {
    switch (message.type) {
      case 'peer-up': {
        const name = nameOf(message.peer);
        assert.ok(!this.up.has(name), `${name} comes up twice`);
        this.up.add(name);
        break;
      }
      case 'peer-down': {
        const name = nameOf(message.peer);
        assert.ok(this.up.delete(name), `${name} goes down without having been up`);
        for (const key of this.tables.keys()) if (key.startsWith(`${name} `)) this.tables.delete(key);
        break;
      }
      case 'route-monitoring':
        this.#takeRoutes(message);
        break;
      case 'statistics':
        assert.ok(this.up.has(nameOf(message.peer)), 'numbers of a peer that is not up');
        break;
      default:
        assert.notEqual(message.type, 'unknown');
    }
  }

  #takeRoutes({ peer, update }: RouteMonitoring): void {
    const name = nameOf(peer);
    assert.ok(this.up.has(name), `routes of ${name}, which is not up`);
    assert.equal(update.readUInt16BE(16), update.length, 'one whole message');
    const context = {
      session: 'unknown' as const,
      asn4: !peer.twoOctetAs,
      addPath: new Set<never>(),
      extendedNextHop: new Set<never>(),
    };
    const { update: decoded, reasons, endOfRib } = decodeUpdate(update, context);
    assert.deepEqual(reasons, []);
    const key = `${name} ${peer.view}`;
    if (endOfRib !== undefined) this.ended.add(`${key} ${endOfRib}`);
    const table = this.tables.get(key) ?? new Map<string, string>();
    this.tables.set(key, table);
    const withdrawn: Nlri[] = [...decoded.withdrawn];
    for (const attribute of decoded.attributes) {
      if (attribute.type === 'MP_UNREACH_NLRI') withdrawn.push(...attribute.nlri);
      if (attribute.type !== 'MP_REACH_NLRI') continue;
      for (const nlri of attribute.nlri) table.set(prefixText(nlri), 'v6');
    }
    for (const nlri of withdrawn) {
      const known = table.delete(prefixText(nlri));
      assert.ok(
        known || peer.view === 'adj-rib-out-post',
        `${key} takes back ${prefixText(nlri)}, never announced`,
      );
    }
    const nextHop = decoded.attributes.find((one) => one.type === 'NEXT_HOP');
    for (const nlri of decoded.nlri) table.set(prefixText(nlri), nextHop ? formatIP(nextHop.address) : '');
  }
}

function nameOf({ address }: PeerHeader): string {
  return address === undefined ? 'loc-rib' : formatIP(address);
}

function prefixText(nlri: Nlri): string {
  assert.equal(nlri.kind, 'prefix');
  return nlri.kind === 'prefix' ? formatPrefix(nlri.prefix) : '';
}
