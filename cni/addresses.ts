import type { IP } from '../src/address/ip.ts';
import type { AttachmentKey } from './protocol/environment.ts';
import type { Dns, ResultAddress, ResultRoute } from './protocol/result.ts';

/** Whom an address belongs to. */
export interface AddressOwner extends AttachmentKey {
  /** The name of the network in the CNI configuration. */
  readonly network: string;
}

/** The Kubernetes pod behind a call, where the runtime tells (`K8S_POD_*` in `CNI_ARGS`). */
export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string | undefined;
}

export interface AddressRequest {
  readonly owner: AddressOwner;
  readonly pod: Pod | undefined;
  /** Addresses the runtime insists on; empty leaves the choice to the source. */
  readonly ips: readonly IP[];
  /** Whether the interface will stand on a link with others, as a NIC does: its addresses come from that link's segment. */
  readonly onLink?: boolean | undefined;
}

/** What a source gives out: at least one address, at most one of each family. */
export interface Allocation {
  /** Gateways and prefix lengths matter to NIC attachments; a veth pod is reached by host routes. */
  readonly ips: readonly ResultAddress[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
  /** Resolves when the source will know of it after whatever happens: before that no answer may be given. Absent: it does. */
  readonly durable?: Promise<void> | undefined;
}

/**
 * Where the addresses of attachments come from: the agent's own IPAM, a delegated plugin, or nobody, while
 * no agent runs. Failures are `CniError`s where the code matters to the runtime; anything else becomes code 100.
 */
export interface AddressSource {
  /** On failure nothing stays allocated. */
  allocate(request: AddressRequest): Promise<Allocation>;
  /** Idempotent: releasing what is not held succeeds. */
  release(owner: AddressOwner): Promise<void>;
  /** @throws {Error} If `owner` does not hold exactly these addresses. */
  check(owner: AddressOwner, ips: readonly IP[]): Promise<void>;
  /** Releases what owners in `network` hold, except valid ones; carries on past failures. */
  collect(network: string, isValid: (key: AttachmentKey) => boolean): Promise<void>;
  /** @throws {CniError} Code 50 if no ADD can succeed now, 51 if pods that exist suffer too. */
  status(network: string): Promise<void>;
}
