import { messageOf } from '../../errors.ts';
import { parseDuration } from '../../store/kinds/duration.ts';
import type { Node } from '../../store/kinds/node.ts';
import { clusterIdOf, isReflector } from './clusterNode.ts';
import { gracefulRestart, neighbourDefaults } from './neighbourDefaults.ts';
import { BGP_PORT, type NeighbourConfig } from './router.ts';
import type { Standpoint } from './standpoint.ts';

/** The neighbours that a node has because all nodes are each other's, directly or by way of reflectors. */
export function meshNeighbours(standpoint: Standpoint): NeighbourConfig[] {
  const { self, cluster, problems } = standpoint;
  if (standpoint.setting('nodeToNodeMeshEnabled') === false || self === undefined) return [];
  const time = standpoint.setting('nodeMeshMaxRestartTime');
  let password: string | undefined;
  try {
    password = standpoint.password(standpoint.setting('nodeMeshPassword'));
  } catch (error) {
    problems.push(`the mesh is down: ${messageOf(error)}`);
    return [];
  }
  const restartTime = time === undefined ? undefined : Math.round(parseDuration(time));
  const centre = cluster.nodes.some(isReflector);
  return meshPeers(self, cluster.nodes).flatMap((node) => {
    const address = standpoint.addressOf(node);
    if (address === undefined) return [];
    const source = standpoint.addressFor(address);
    return [
      {
        ...neighbourDefaults(standpoint),
        name: `node ${node.metadata.name}`,
        kind: centre ? 'route reflection' : 'node-to-node mesh',
        reflectorClient: isReflector(self) && !isReflector(node),
        address,
        port: BGP_PORT,
        remoteAs: standpoint.asnOf(node),
        gracefulRestart: gracefulRestart(restartTime),
        ...(source !== undefined && { sourceAddress: source }),
        ...(password !== undefined && { password }),
      },
    ];
  });
}

/** Everybody; or the reflectors, and for a reflector everybody again. Who is in a cluster by annotation peers by BGPPeers. */
function meshPeers(self: Node, nodes: readonly Node[]): Node[] {
  const others = nodes.filter((node) => node !== self);
  const taking = (node: Node) => isReflector(node) || clusterIdOf(node) === undefined;
  if (!taking(self)) return [];
  if (isReflector(self) || !others.some(isReflector)) return others.filter(taking);
  return others.filter(isReflector);
}
