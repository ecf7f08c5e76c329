/** What of a Kubernetes `Service` the datapath looks at. */
export interface ServiceObject {
  readonly metadata: {
    readonly namespace?: string | undefined;
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>> | undefined;
    readonly annotations?: Readonly<Record<string, string>> | undefined;
  };
  readonly spec: {
    readonly type?: string | undefined;
    readonly clusterIP?: string | undefined;
    readonly clusterIPs?: readonly string[] | undefined;
    readonly externalIPs?: readonly string[] | undefined;
    readonly ports?: readonly ServicePort[] | undefined;
    readonly sessionAffinity?: string | undefined;
    readonly sessionAffinityConfig?:
      | { readonly clientIP?: { readonly timeoutSeconds?: number | undefined } | undefined }
      | undefined;
    readonly internalTrafficPolicy?: string | undefined;
    readonly externalTrafficPolicy?: string | undefined;
    readonly loadBalancerSourceRanges?: readonly string[] | undefined;
    readonly publishNotReadyAddresses?: boolean | undefined;
  };
  readonly status?:
    | {
        readonly loadBalancer?:
          | {
              readonly ingress?:
                | readonly { readonly ip?: string | undefined; readonly ipMode?: string | undefined }[]
                | undefined;
            }
          | undefined;
      }
    | undefined;
}

export interface ServicePort {
  readonly name?: string | undefined;
  readonly protocol?: string | undefined;
  readonly port: number;
  readonly nodePort?: number | undefined;
}

/** Its addresses inside the cluster, as they are written; none of a headless one or one that has none yet. */
export function clusterIPsOf({ spec }: Pick<ServiceObject, 'spec'>): string[] {
  return (spec.clusterIPs ?? [spec.clusterIP ?? '']).filter((text) => text !== '' && text !== 'None');
}

/** What of a Kubernetes `EndpointSlice` the datapath looks at. */
export interface EndpointSliceObject {
  readonly metadata: { readonly name: string };
  readonly addressType: string;
  readonly ports?:
    | readonly {
        readonly name?: string | undefined;
        readonly protocol?: string | undefined;
        readonly port?: number | undefined;
      }[]
    | null
    | undefined;
  readonly endpoints?: readonly SliceEndpoint[] | null | undefined;
}

export interface SliceEndpoint {
  readonly addresses: readonly string[];
  readonly conditions?:
    | {
        readonly ready?: boolean | null | undefined;
        readonly serving?: boolean | null | undefined;
        readonly terminating?: boolean | null | undefined;
      }
    | undefined;
  readonly nodeName?: string | null | undefined;
}
