import { closeSync } from 'node:fs';
import { koffi } from '../ffi/koffi.ts';
import { checked } from '../ffi/libc.ts';
import { hasCode, SystemError } from '../ffi/systemError.ts';
import {
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  readAnswer,
  readMessages,
  writeMessage,
} from '../netlink/message.ts';
import { receive } from '../netlink/socket.ts';
import { send, socket } from '../netlink/syscalls.ts';
import { address } from './maps/address.ts';
import type { Endpoint } from './maps/endpoint.ts';
import { placeOf } from './programmedSet.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 0o2000003;
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const FAMILIES = { ipv4: 2, ipv6: 10 };
const UDP = 17;

/** TCP_ESTABLISHED, which a connected UDP socket is said to be in. */
const CONNECTED = 1 << 1;

/** `struct inet_diag_sockid` in requests and answers, and its fields, all in network order but the cookie. */
const SOCKET_ID = { size: 48, destinationPort: 2, destination: 20 };
/** Where it lies in `struct inet_diag_req_v2` and `struct inet_diag_msg`. */
const IN_REQUEST = 8;
const IN_ANSWER = 4;
const RECEIVE_BUFFER = 1 << 16;

/**
 * Ends the UDP sockets of the calling thread's network namespace that are connected to one of these places: their
 * next call fails with ECONNABORTED, and an application that connects anew gets another backend. Without this
 * a socket that was translated when it connected would send to a pod that is gone for ever (Linux 4.9,
 * CONFIG_INET_DIAG_DESTROY).
 *
 * @returns How many were ended.
 * @throws {SystemError} `EOPNOTSUPP` if the kernel cannot.
 */
export function destroyUdpSockets(places: readonly Endpoint[]): number {
  const wanted = new Set(places.filter(({ protocol }) => protocol === UDP).map(placeOf));
  if (wanted.size === 0) return 0;
  const fd = checked(
    socket()(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_SOCK_DIAG),
    'open a netlink socket for socket diagnosis',
  );
  try {
    let ended = 0;
    for (const family of Object.values(FAMILIES)) {
      for (const id of connectedSockets(fd, family)) {
        if (wanted.has(placeOf(destinationOf(id, family))) && destroy(fd, family, id)) ended++;
      }
    }
    return ended;
  } finally {
    closeSync(fd);
  }
}

function connectedSockets(fd: number, family: number): Buffer[] {
  const request = { flags: NLM_F_DUMP, header: diagnosis(family, CONNECTED), what: 'list UDP sockets' };
  return exchange(fd, SOCK_DIAG_BY_FAMILY, request).map(({ payload }) =>
    Buffer.from(payload.subarray(IN_ANSWER, IN_ANSWER + SOCKET_ID.size)),
  );
}

/** An IPv6 socket may be connected to an IPv4 address; the codec of the maps reads both forms alike. */
function destinationOf(id: Buffer, family: number): Endpoint {
  const mapped = Buffer.alloc(address.size);
  const from = SOCKET_ID.destination;
  if (family === FAMILIES.ipv6) id.copy(mapped, 0, from, from + 16);
  else {
    mapped.writeUInt16BE(0xffff, 10);
    id.copy(mapped, 12, from, from + 4);
  }
  return {
    address: address.read(mapped, 0),
    port: id.readUInt16BE(SOCKET_ID.destinationPort),
    protocol: UDP,
  };
}

/** Returns false if the socket went by itself meanwhile. */
function destroy(fd: number, family: number, id: Buffer): boolean {
  const header = diagnosis(family, CONNECTED);
  id.copy(header, IN_REQUEST);
  try {
    exchange(fd, SOCK_DESTROY, { flags: NLM_F_ACK, header, what: 'end a UDP socket' });
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** `struct inet_diag_req_v2`. */
function diagnosis(family: number, states: number): Buffer {
  const header = Buffer.alloc(IN_REQUEST + SOCKET_ID.size);
  header.writeUInt8(family, 0);
  header.writeUInt8(UDP, 1);
  header.writeUInt32LE(states, 4);
  return header;
}

function exchange(
  fd: number,
  type: number,
  request: { flags: number; header: Buffer; what: string },
): Message[] {
  const bytes = writeMessage({ ...request, type, attributes: [] }, 1);
  checked(send()(fd, bytes, bytes.length, 0), request.what);
  const buffer = Buffer.alloc(RECEIVE_BUFFER);
  const objects: Message[] = [];
  for (;;) {
    const datagram = receive(fd, buffer);
    if (datagram === undefined) throw new SystemError(request.what, koffi().errno(), 'no answer');
    for (const message of readMessages(datagram)) {
      const answer = readAnswer(message);
      if (answer.kind === 'object') objects.push(answer.message);
      else if (answer.errno === 0) return objects;
      else throw new SystemError(request.what, answer.errno);
    }
  }
}
