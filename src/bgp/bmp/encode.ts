import { afiOf, safiOf } from '../wire/family.ts';
import { Writer } from '../wire/writer.ts';
import {
  BMP_TYPES,
  BMP_VERSION,
  type BmpMessage,
  INFORMATION,
  type Information,
  type PeerDownReason,
  type Statistic,
  statisticShape,
  type UnknownStatistic,
} from './message.ts';
import { addressBytes, writePeerHeader } from './peerHeader.ts';

const TERMINATION_TEXT = 0;
const TERMINATION_REASON = 1;

/** A whole message, common header included. */
export function encodeBmp(message: BmpMessage): Buffer {
  const to = new Writer();
  to.u8(BMP_VERSION).u32(0);
  to.u8(message.type === 'unknown' ? message.code : BMP_TYPES.indexOf(message.type));
  writeBody(message, to);
  const bytes = to.done();
  bytes.writeUInt32BE(bytes.length, 1);
  return bytes;
}

/** Text as information about the router or the session. */
export function informationText(type: number, text: string): Information {
  return { type, value: Buffer.from(text) };
}

/** What every connection to a station begins with: who is speaking (RFC 7854 §4.3). */
export function encodeInitiation(systemName: string, systemDescription: string): Buffer {
  const information = [
    informationText(INFORMATION.systemDescription, systemDescription),
    informationText(INFORMATION.systemName, systemName),
  ];
  return encodeBmp({ type: 'initiation', information });
}

function writeBody(message: BmpMessage, to: Writer): void {
  switch (message.type) {
    case 'initiation':
      writeInformation(message.information, to);
      return;
    case 'termination':
      to.u16(TERMINATION_REASON).u16(2).u16(message.reason);
      if (message.text !== undefined) {
        writeInformation([informationText(TERMINATION_TEXT, message.text)], to);
      }
      return;
    case 'unknown':
      to.put(message.body);
      return;
    default:
      writePeerHeader(message.peer, to);
  }
  switch (message.type) {
    case 'route-monitoring':
      to.put(message.update);
      return;
    case 'peer-up':
      to.put(addressBytes(message.localAddress)).u16(message.localPort).u16(message.remotePort);
      to.put(message.sentOpen).put(message.receivedOpen);
      writeInformation(message.information, to);
      return;
    case 'peer-down':
      writeReason(message.reason, to);
      return;
    case 'statistics':
      to.u32(message.statistics.length);
      for (const statistic of message.statistics) writeStatistic(statistic, to);
  }
}

function writeInformation(information: readonly Information[], to: Writer): void {
  for (const { type, value } of information) to.u16(type).counted(2, () => to.put(value));
}

function writeReason(reason: PeerDownReason, to: Writer): void {
  switch (reason.kind) {
    case 'local-notification':
      to.u8(1).put(reason.notification);
      return;
    case 'local-close':
      to.u8(2).u16(reason.event);
      return;
    case 'remote-notification':
      to.u8(3).put(reason.notification);
      return;
    case 'remote-close':
      to.u8(4);
      return;
    case 'deconfigured':
      to.u8(5);
      return;
    case 'table-closed':
      to.u8(6);
      writeInformation(reason.information, to);
      return;
    case 'unknown':
      to.u8(reason.code).put(reason.data);
  }
}

function writeStatistic(statistic: Statistic | UnknownStatistic, to: Writer): void {
  to.u16(statistic.type);
  if ('data' in statistic) {
    to.counted(2, () => to.put(statistic.data));
    return;
  }
  const { value, family } = statistic;
  switch (statisticShape(statistic.type)) {
    case 'counter':
      to.u16(4).u32(Number(value & 0xffffffffn));
      return;
    case 'family-gauge':
      if (family === undefined)
        throw new TypeError(`Cannot write statistic ${statistic.type} without family`);
      to.u16(11).u16(afiOf(family)).u8(safiOf(family)).u64(value);
      return;
    default:
      to.u16(8).u64(value);
  }
}
