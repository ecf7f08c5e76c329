import { definitionOf, KIND_NAMES, type Kind } from '../kinds/registry.ts';

/** What a path of the Kubernetes API leads to. */
export interface Place {
  kind: Kind;
  plural: string;
  namespace: string | undefined;
  name: string | undefined;
  subresource: string | undefined;
}

/** `/apis/network.tombolo.dev/v1alpha1/nodenetworks/a/status`; undefined if there is nothing of ours. */
export function placeOf(path: string): Place | undefined {
  const match =
    /^\/(?:api|apis)\/((?:[^/]+\/)?v1(?:alpha1)?)(?:\/namespaces\/([^/]+)(?=\/[a-z]+))?\/([a-z]+)(?:\/([^/]+))?(?:\/(status))?$/.exec(
      path,
    );
  const [, apiVersion, namespace, plural = '', name, subresource] = match ?? [];
  const kind = KIND_NAMES.find((kind) => {
    const definition = definitionOf(kind);
    return definition.plural === plural && definition.apiVersion === apiVersion;
  });
  return kind && { kind, plural, namespace, name, subresource };
}
