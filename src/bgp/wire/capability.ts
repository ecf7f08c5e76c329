import type { Cursor } from './cursor.ts';
import { type AfiSafi, afiOf, afiSafiOf, safiOf } from './family.ts';
import { OPEN_ERROR } from './notification.ts';
import type { Writer } from './writer.ts';

/** RFC 4724 §3, with the N bit of RFC 8538. */
export interface GracefulRestart {
  readonly name: 'graceful-restart';
  /** The R bit: the sender has just restarted, do not wait for its End-of-RIB. */
  readonly restarting: boolean;
  /** The N bit: NOTIFICATION and hold timer expiry count as restarts too. */
  readonly notification: boolean;
  /** Seconds, 0 to 4095. */
  readonly restartTime: number;
  readonly families: readonly { readonly family: AfiSafi; readonly forwardingPreserved: boolean }[];
}

export type AddPathMode = 'receive' | 'send' | 'both';

/** One capability of an OPEN (RFC 5492). */
export type Capability =
  | { readonly name: 'multiprotocol'; readonly family: AfiSafi }
  | { readonly name: 'route-refresh' }
  /** RFC 8950: routes of `family` may have a next hop of `nextHopAfi`. */
  | {
      readonly name: 'extended-next-hop';
      readonly entries: readonly { readonly family: AfiSafi; readonly nextHopAfi: number }[];
    }
  /** RFC 8654. */
  | { readonly name: 'extended-message' }
  /** RFC 9234: kept, not acted upon. */
  | { readonly name: 'role'; readonly role: number }
  | GracefulRestart
  /** RFC 6793. */
  | { readonly name: 'four-octet-as'; readonly asn: number }
  /** RFC 7911: what the sender of the OPEN is able to do. */
  | {
      readonly name: 'add-path';
      readonly families: readonly { readonly family: AfiSafi; readonly mode: AddPathMode }[];
    }
  /** RFC 7313. */
  | { readonly name: 'enhanced-route-refresh' }
  /** RFC 9494; `staleTime` in seconds, 24 bits. */
  | {
      readonly name: 'long-lived-graceful-restart';
      readonly families: readonly {
        readonly family: AfiSafi;
        readonly forwardingPreserved: boolean;
        readonly staleTime: number;
      }[];
    }
  /** draft-walton-bgp-hostname-capability: names for people, not authenticated. */
  | { readonly name: 'fqdn'; readonly host: string; readonly domain: string }
  | { readonly name: 'unknown'; readonly code: number; readonly value: Buffer };

type Named<N extends Capability['name']> = Extract<Capability, { name: N }>;

interface Codec<N extends Capability['name']> {
  readonly code: number;
  /** The legal lengths of the value in bytes. */
  readonly length: (length: number) => boolean;
  /** `undefined` where the value is one that must be ignored: the capability is then kept as unknown. */
  readonly decode: (value: Cursor) => Named<N> | undefined;
  readonly encode: (capability: Named<N>, to: Writer) => void;
}

const ADD_PATH_MODES: readonly AddPathMode[] = ['receive', 'send', 'both'];

const CODECS: { readonly [N in Exclude<Capability['name'], 'unknown'>]: Codec<N> } = {
  multiprotocol: {
    code: 1,
    length: (length) => length === 4,
    decode: (value) => ({ name: 'multiprotocol', family: readFamily(value, 1) }),
    encode: ({ family }, to) => to.u16(afiOf(family)).u8(0).u8(safiOf(family)),
  },
  'route-refresh': flag('route-refresh', 2),
  'extended-next-hop': {
    code: 5,
    length: (length) => length % 6 === 0,
    decode: (value) => ({
      name: 'extended-next-hop',
      entries: repeat(value, () => ({ family: readFamily(value, 1), nextHopAfi: value.u16() })),
    }),
    encode: ({ entries }, to) => {
      for (const { family, nextHopAfi } of entries) to.u16(afiOf(family)).u16(safiOf(family)).u16(nextHopAfi);
    },
  },
  'extended-message': flag('extended-message', 6),
  role: {
    code: 9,
    length: (length) => length === 1,
    decode: (value) => ({ name: 'role', role: value.u8() }),
    encode: ({ role }, to) => to.u8(role),
  },
  'graceful-restart': {
    code: 64,
    length: (length) => length >= 2 && length % 4 === 2,
    decode: decodeGracefulRestart,
    encode: encodeGracefulRestart,
  },
  'four-octet-as': {
    code: 65,
    length: (length) => length === 4,
    decode: (value) => ({ name: 'four-octet-as', asn: value.u32() }),
    encode: ({ asn }, to) => to.u32(asn),
  },
  'add-path': {
    code: 69,
    length: (length) => length > 0 && length % 4 === 0,
    decode: decodeAddPath,
    encode: ({ families }, to) => {
      for (const { family, mode } of families) writeFamily(to, family).u8(ADD_PATH_MODES.indexOf(mode) + 1);
    },
  },
  'enhanced-route-refresh': flag('enhanced-route-refresh', 70),
  'long-lived-graceful-restart': {
    code: 71,
    length: (length) => length % 7 === 0,
    decode: (value) => ({
      name: 'long-lived-graceful-restart',
      families: repeat(value, () => ({
        family: readFamily(value, 0),
        forwardingPreserved: (value.u8() & 0x80) !== 0,
        staleTime: value.u24(),
      })),
    }),
    encode: ({ families }, to) => {
      for (const { family, forwardingPreserved, staleTime } of families) {
        writeFamily(to, family)
          .u8(forwardingPreserved ? 0x80 : 0)
          .u24(staleTime);
      }
    },
  },
  fqdn: {
    code: 73,
    length: () => true,
    decode: decodeFqdn,
    encode: ({ host, domain }, to) => {
      for (const name of [host, domain]) to.counted(1, () => to.put(Buffer.from(name)));
    },
  },
};

const BY_CODE: ReadonlyMap<number, Codec<never>> = new Map(
  Object.values(CODECS).map((codec) => [codec.code, codec as unknown as Codec<never>]),
);

/** Every capability of one optional parameter, in order. */
export function decodeCapabilities(parameter: Cursor): Capability[] {
  return repeat(parameter, () => decodeCapability(parameter));
}

function decodeCapability(cursor: Cursor): Capability {
  const code = cursor.u8();
  const length = cursor.u8();
  const codec = BY_CODE.get(code);
  const at = cursor.offset;
  const value = cursor.part(length, { code: OPEN_ERROR, subcode: 0, what: `capability ${code}` });
  if (codec !== undefined) {
    if (!codec.length(length)) throw value.error(`its length is wrong (value ${length})`);
    const capability = codec.decode(value);
    if (capability !== undefined) return capability;
  }
  return { name: 'unknown', code, value: Buffer.from(cursor.bytes.subarray(at, at + length)) };
}

/** Code, length, value. */
export function encodeCapability(capability: Capability, to: Writer): void {
  if (capability.name === 'unknown') {
    to.u8(capability.code).counted(1, () => to.put(capability.value));
    return;
  }
  const codec = CODECS[capability.name] as unknown as Codec<never>;
  to.u8(codec.code).counted(1, () => codec.encode(capability as never, to));
}

export function capabilityCode(capability: Capability): number {
  return capability.name === 'unknown' ? capability.code : CODECS[capability.name].code;
}

export function findCapability<N extends Capability['name']>(
  capabilities: readonly Capability[],
  name: N,
): Named<N> | undefined {
  return capabilities.find((capability): capability is Named<N> => capability.name === name);
}

function flag<N extends 'route-refresh' | 'extended-message' | 'enhanced-route-refresh'>(
  name: N,
  code: number,
): Codec<N> {
  return {
    code,
    // Some speakers pad what has no value; to refuse the session over that helps nobody.
    length: () => true,
    decode: () => ({ name }) as Named<N>,
    encode: () => {},
  };
}

function decodeGracefulRestart(value: Cursor): GracefulRestart {
  const head = value.u16();
  return {
    name: 'graceful-restart',
    restarting: (head & 0x8000) !== 0,
    notification: (head & 0x4000) !== 0,
    restartTime: head & 0x0fff,
    families: repeat(value, () => ({
      family: readFamily(value, 0),
      forwardingPreserved: (value.u8() & 0x80) !== 0,
    })),
  };
}

function encodeGracefulRestart(capability: GracefulRestart, to: Writer): void {
  const { restarting, notification, restartTime, families } = capability;
  to.u16((restarting ? 0x8000 : 0) | (notification ? 0x4000 : 0) | (restartTime & 0x0fff));
  for (const { family, forwardingPreserved } of families) {
    writeFamily(to, family).u8(forwardingPreserved ? 0x80 : 0);
  }
}

/** A Send/Receive value other than 1, 2, 3 makes the capability one to ignore (RFC 7911 §4). */
function decodeAddPath(value: Cursor): Named<'add-path'> | undefined {
  const families: { family: AfiSafi; mode: AddPathMode }[] = [];
  while (value.remaining > 0) {
    const family = readFamily(value, 0);
    const mode = ADD_PATH_MODES[value.u8() - 1];
    if (mode === undefined) return undefined;
    families.push({ family, mode });
  }
  return { name: 'add-path', families };
}

/** Not worth a session: a broken one, or one that is not UTF-8, is kept as bytes. */
function decodeFqdn(value: Cursor): Named<'fqdn'> | undefined {
  const bytes = value.rest();
  const hostEnd = 1 + (bytes[0] ?? 0);
  const domainEnd = hostEnd + 1 + (bytes[hostEnd] ?? 0);
  if (domainEnd !== bytes.length) return undefined;
  const host = bytes.subarray(1, hostEnd);
  const domain = bytes.subarray(hostEnd + 1);
  if (!isUtf8(host) || !isUtf8(domain)) return undefined;
  return { name: 'fqdn', host: host.toString(), domain: domain.toString() };
}

function isUtf8(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString()).equals(bytes);
}

/** AFI, then `gap` reserved bytes, then SAFI. */
function readFamily(cursor: Cursor, gap: 0 | 1): AfiSafi {
  const afi = cursor.u16();
  if (gap === 1) cursor.u8();
  return afiSafiOf(afi, cursor.u8());
}

function writeFamily(to: Writer, family: AfiSafi): Writer {
  return to.u16(afiOf(family)).u8(safiOf(family));
}

function repeat<T>(cursor: Cursor, one: () => T): T[] {
  const all: T[] = [];
  while (cursor.remaining > 0) all.push(one());
  return all;
}
