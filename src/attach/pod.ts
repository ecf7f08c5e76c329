import { closeSync } from 'node:fs';
import { hasCode } from '../ffi/systemError.ts';
import {
  type NamespaceIdentity,
  namespaceCookie,
  namespaceIdentity,
  openNamespace,
  sameNamespace,
  withNamespace,
} from '../netlink/namespace.ts';
import { type Netlink, openNetlink } from '../netlink/socket.ts';

/** A pod's network namespace, held open, with a netlink socket in it. */
export interface Pod {
  /** Where it was opened. */
  readonly path: string;
  readonly fd: number;
  readonly identity: NamespaceIdentity;
  readonly cookie: bigint | undefined;
  readonly netlink: Netlink;
  /** Runs something synchronous inside. */
  inside<T>(body: () => T): T;
  close(): void;
}

/** @throws {Error} If it cannot be entered, or is the namespace we are in. */
export function openPod(path: string): Pod {
  const fd = openNamespace(path);
  try {
    if (sameNamespace(namespaceIdentity(fd), namespaceIdentity())) {
      throw new Error(`Cannot use network namespace ${path} for a pod: it is the node's own`);
    }
    return enter(path, fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** The pod at a path; `undefined` if there is none, or if that is the namespace we are in. */
export function findPod(path: string): Pod | undefined {
  try {
    const identity = namespaceIdentity(path);
    return sameNamespace(identity, namespaceIdentity()) ? undefined : reopenPod(path, identity);
  } catch (error) {
    // EINVAL: where a namespace was mounted, a file is left.
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'EINVAL')) return undefined;
    throw error;
  }
}

/** The pod of a record; `undefined` if it is gone, or if its path leads to another one by now. */
export function reopenPod(path: string, identity: NamespaceIdentity): Pod | undefined {
  let fd: number;
  try {
    fd = openNamespace(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
  try {
    if (sameNamespace(namespaceIdentity(fd), identity)) return enter(path, fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return undefined;
}

function enter(path: string, fd: number): Pod {
  const { cookie, netlink } = withNamespace(fd, () => ({
    cookie: namespaceCookie(),
    netlink: openNetlink(),
  }));
  return {
    path,
    fd,
    identity: namespaceIdentity(fd),
    cookie,
    netlink,
    inside: (body) => withNamespace(fd, body),
    close() {
      netlink.close();
      closeSync(fd);
    },
  };
}
