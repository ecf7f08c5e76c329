import { CniError, CODE } from '../../cni/protocol/error.ts';
import { type IP, parseIP } from '../address/ip.ts';
import { parsePrefix, prefixFamily } from '../address/prefix.ts';
import { messageOf } from '../errors.ts';
import {
  ANNOTATIONS,
  BindingError,
  bind,
  type PoolRule,
  type Source,
  type Subject,
} from '../ipam/binding.ts';
import { type ClaimWish, wishOf } from '../ipam/claim.ts';
import type { Log } from '../log.ts';
import { type Labels, parseSelector } from '../selector/selector.ts';
import type { Change } from '../store/follow.ts';
import type { IPClaim } from '../store/kinds/ipClaim.ts';
import { blockSizeOf, type IPPool, inForce } from '../store/kinds/ipPool.ts';
import type { Kind, ObjectOf } from '../store/kinds/registry.ts';
import { isStoreError, type Key, type Store } from '../store/store.ts';

/**
 * So long an ADD waits for what the store says of its pod, in milliseconds. A healthy API server takes a few; a runtime
 * that is told to try again does so within seconds.
 */
const PATIENCE_MS = 3_000;

/** A pod by its name, as a call brings it. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

/** What the store says of a pod's addresses. */
export interface Terms {
  /** Where they come from. */
  readonly sources: readonly Source[];
  /** Addresses that the pod insists on, by Calico's annotation. */
  readonly addresses: readonly IP[];
  /** The claim it asks for, and the one there is. */
  readonly wish: ClaimWish | undefined;
  readonly claim: IPClaim | undefined;
  readonly subject: Subject;
}

/** Calico's annotation: addresses as a JSON list. */
const ADDRESSES_ANNOTATION = 'cni.projectcalico.org/ipAddrs';

/** Knows the pools, and asks the store about each pod: its labels and annotations may be younger than any cache. */
export class Bindings {
  readonly #store: Store;
  readonly #node: string;
  readonly #pooled: () => boolean;
  readonly #log: Log;
  readonly #pools = new Map<string, IPPool>();
  readonly #listed = new Milestone();
  readonly #assigned = new Milestone();

  /** @param pooled Whether any segment of the node belongs to a pool. */
  constructor(store: Store, node: string, pooled: () => boolean, log: Log) {
    this.#store = store;
    this.#node = node;
    this.#pooled = pooled;
    this.#log = log;
  }

  onPool(change: Change<IPPool>): void {
    if (change.type === 'interrupted') return;
    if (change.type === 'replaced') {
      this.#pools.clear();
      for (const pool of change.objects) this.#pools.set(pool.metadata.name, pool);
      this.#listed.reach();
    } else if (change.type === 'applied') this.#pools.set(change.object.metadata.name, change.object);
    else this.#pools.delete(change.object.metadata.name);
  }

  /**
   * To be called when the segments of the node are those that the store has. Before, they are what an earlier agent knew:
   * some may have gone to other nodes since.
   */
  segmentsAssigned(): void {
    this.#assigned.reach();
  }

  /** Whether there is a pool that an operator could cut a segment from. */
  get any(): boolean {
    return this.#pools.size > 0;
  }

  /**
   * Where the addresses of a pod come from, and which they are to be. Undefined, which is any from anywhere, while the
   * store is out of reach of a node that has no segment of any pool: such a node lives by its configuration alone.
   *
   * @throws {CniError} Code 7 if it is told to draw from where it may not, 11 if the store does not answer.
   */
  async termsOf(pod: PodName | undefined): Promise<Terms | undefined> {
    try {
      await inTime(Promise.all([this.#listed.reached, this.#assigned.reached]));
      const [subject, claim] = await Promise.all([
        this.subjectOf(pod),
        pod && inTime(this.#find('IPClaim', pod)),
      ]);
      const wish = subject.pod && wishOf(subject.pod);
      return {
        sources: this.#sourcesOf(subject, claim),
        addresses: insistedOn(subject),
        wish,
        claim,
        subject,
      };
    } catch (error) {
      if (error instanceof BindingError) throw new CniError(CODE.invalidConfiguration, error.message);
      if (!(error instanceof CniError) || this.#pooled()) throw error;
      this.#log.warning('addresses are given out without asking for pools', {
        namespace: pod?.namespace,
        pod: pod?.name,
        error,
      });
      return undefined;
    }
  }

  /** A pool that the claim names counts as if the pod named it. */
  #sourcesOf(subject: Subject, claim: IPClaim | undefined): Source[] {
    const pool = claim?.spec.pool;
    if (pool === undefined || subject.pod === undefined) return bind(subject, this.rules());
    const rule = this.rules().find(({ name }) => name === pool);
    const annotation = ANNOTATIONS[rule ? prefixFamily(rule.cidr) : 4];
    const { pod } = subject;
    const named = { ...pod, annotations: { ...pod.annotations, [annotation]: pool } };
    return bind({ ...subject, pod: named }, this.rules());
  }

  /** The pools as far as they can be read; the operator leaves out the others as well. */
  rules(): PoolRule[] {
    return [...this.#pools.values()].flatMap((pool) => {
      try {
        return [ruleOf(pool)];
      } catch (error) {
        this.#log.warning('a pool is left out', { pool: pool.metadata.name, reason: messageOf(error) });
        return [];
      }
    });
  }

  async subjectOf(pod: PodName | undefined): Promise<Subject> {
    const [node, namespace, object] = await inTime(
      Promise.all([
        this.#find('Node', { name: this.#node }),
        pod && this.#find('Namespace', { name: pod.namespace }),
        pod && this.#find('Pod', { namespace: pod.namespace, name: pod.name }),
      ]),
    );
    return {
      node: { name: this.#node, labels: node?.metadata.labels ?? {} },
      ...(pod && {
        pod: {
          namespace: pod.namespace,
          name: pod.name,
          annotations: object?.metadata.annotations ?? {},
          uid: object?.metadata.uid,
          ...controllerOf(object),
        },
        namespace: {
          labels: { ...namesOf(pod.namespace), ...namespace?.metadata.labels },
          annotations: namespace?.metadata.annotations ?? {},
        },
      }),
    };
  }

  /** What is not there says nothing; a store that does not answer may have something to say. */
  async #find<K extends Kind>(kind: K, key: Key): Promise<ObjectOf<K> | undefined> {
    try {
      return await this.#store.get(kind, key);
    } catch (error) {
      if (isStoreError(error, 'NotFound')) return undefined;
      throw tryAgain(messageOf(error));
    }
  }
}

/** A list without `controller` flags has one entry, as whoever writes by hand would have it. */
function controllerOf(pod: ObjectOf<'Pod'> | undefined) {
  const references = pod?.metadata.ownerReferences ?? [];
  const controller =
    references.find((one) => 'controller' in one && one.controller === true) ?? references[0];
  return controller && { controller: { kind: controller.kind, name: controller.name, uid: controller.uid } };
}

/**
 * The addresses that a pod will have or none.
 *
 * @throws {BindingError} If the annotation is no list of addresses.
 */
export function insistedOn({ pod }: Subject): IP[] {
  const text = pod?.annotations[ADDRESSES_ANNOTATION];
  if (text === undefined) return [];
  try {
    const value: unknown = JSON.parse(text);
    if (!Array.isArray(value) || value.length === 0 || value.length > 2)
      throw new SyntaxError('no such list');
    return value.map((one) => parseIP(String(one)));
  } catch (error) {
    const what = `annotation ${ADDRESSES_ANNOTATION} of pod ${pod?.namespace}/${pod?.name}`;
    const value = JSON.stringify(text);
    throw new BindingError(
      `Cannot read ${what}: expected one or two addresses as a JSON list: ${messageOf(error)} (value ${value})`,
    );
  }
}

/** @throws {SyntaxError} If a selector is none. */
function ruleOf(pool: IPPool): PoolRule {
  const { metadata, spec } = inForce(pool);
  return {
    name: metadata.name,
    cidr: parsePrefix(spec.cidr),
    nodeSelector: parseSelector(spec.nodeSelector ?? 'all()'),
    namespaceSelector:
      spec.namespaceSelector === undefined ? undefined : parseSelector(spec.namespaceSelector),
    disabled: spec.disabled ?? false,
    manual: spec.assignmentMode === 'Manual',
    workload: (spec.allowedUses ?? ['Workload']).includes('Workload'),
    blockSize: blockSizeOf(spec),
    disableBGPExport: spec.disableBGPExport ?? false,
  };
}

/** Labels that every namespace has: Kubernetes' own and Calico's. */
function namesOf(namespace: string): Labels {
  return { 'kubernetes.io/metadata.name': namespace, 'projectcalico.org/name': namespace };
}

/** Something that happens once, and that others wait for. */
class Milestone {
  readonly reached: Promise<void>;
  #reach = () => {};

  constructor() {
    this.reached = new Promise((resolve) => {
      this.#reach = resolve;
    });
  }

  reach(): void {
    this.#reach();
  }
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(tryAgain(`the store did not answer in ${PATIENCE_MS / 1000} s`)),
      PATIENCE_MS,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function tryAgain(reason: string): CniError {
  return new CniError(CODE.tryAgainLater, `Cannot tell which pools the pod may draw from: ${reason}`);
}
