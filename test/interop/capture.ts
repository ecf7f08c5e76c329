import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** One TCP payload that fits into a packet, as it would have been seen on the wire. */
export interface Segment {
  readonly port: number;
  readonly payload: Buffer;
}

const RAW_IP = 101;

/** A pcap file of raw IPv4 packets, one connection per segment. */
function pcapOf(segments: readonly Segment[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b2c3d4, 0);
  head.writeUInt16LE(2, 4);
  head.writeUInt16LE(4, 6);
  head.writeUInt32LE(0x40000, 16);
  head.writeUInt32LE(RAW_IP, 20);
  const packets = segments.map(({ port, payload }, index) => {
    const packet = Buffer.concat([ipv4Header(payload.length), tcpHeader(10_000 + index, port), payload]);
    const record = Buffer.alloc(16);
    record.writeUInt32LE(index, 0);
    record.writeUInt32LE(packet.length, 8);
    record.writeUInt32LE(packet.length, 12);
    return Buffer.concat([record, packet]);
  });
  return Buffer.concat([head, ...packets]);
}

function ipv4Header(payload: number): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt8(0x45, 0);
  header.writeUInt16BE(40 + payload, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(6, 9);
  header.writeUInt32BE(0x0a000001, 12);
  header.writeUInt32BE(0x0a000002, 16);
  return header;
}

function tcpHeader(source: number, destination: number): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(source, 0);
  header.writeUInt16BE(destination, 2);
  header.writeUInt32BE(1, 4);
  header.writeUInt8(0x50, 12);
  header.writeUInt8(0x18, 13);
  header.writeUInt16BE(0xffff, 14);
  return header;
}

/** Calls `use` with a file that has `content`, and removes the file afterwards. */
export function withFile<T>(content: Buffer, use: (path: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'tombolo-interop-'));
  try {
    const path = join(directory, 'capture');
    writeFileSync(path, content);
    return use(path);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * What tshark reads out of each segment: the values of every field, in order of appearance.
 *
 * @param options More of tshark's options, as `-d` or `-o` and their argument.
 */
export function dissect<F extends string>(
  segments: readonly Segment[],
  fields: readonly F[],
  options: readonly string[] = [],
): Record<F, string[]>[] {
  const output = withFile(pcapOf(segments), (path) =>
    execFileSync(
      'tshark',
      [
        '-r',
        path,
        ...options,
        '-T',
        'fields',
        '-E',
        'aggregator=;',
        ...fields.flatMap((field) => ['-e', field]),
      ],
      { encoding: 'utf8', maxBuffer: 1 << 26, timeout: 60_000, stdio: ['ignore', 'pipe', 'ignore'] },
    ),
  );
  const lines = output.split('\n').slice(0, segments.length);
  return lines.map((line) => {
    const values = line.split('\t');
    const entries = fields.map((field, index): [F, string[]] => {
      const value = values[index] ?? '';
      return [field, value === '' ? [] : value.split(';')];
    });
    return Object.fromEntries(entries) as Record<F, string[]>;
  });
}
