import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type IP, parseIP } from '../address/ip.ts';
import { createLog } from '../log.ts';
import type { Node } from '../store/kinds/node.ts';
import type { NodeNetwork } from '../store/kinds/nodeNetwork.ts';
import { NameClash } from './nameClash.ts';

function watched(...ips: string[]) {
  const node: { name: string; ips: IP[] } = { name: 'a', ips: ips.map(parseIP) };
  const lines: string[] = [];
  const clash = new NameClash(
    node,
    createLog((line) => lines.push(line), 'error', 'test'),
  );
  return {
    node,
    lines,
    problems: () => clash.problems(),
    network: (nodeIPs: string[], name = 'a') =>
      clash.onNetwork({
        type: 'applied',
        object: { metadata: { name }, spec: {}, status: { nodeIPs } } as unknown as NodeNetwork,
      }),
    listed: (nodeIPs: string[]) =>
      clash.onNetwork({
        type: 'replaced',
        objects: [{ metadata: { name: 'a' }, spec: {}, status: { nodeIPs } } as unknown as NodeNetwork],
      }),
    object: (addresses: string[]) =>
      clash.onNode({
        type: 'applied',
        object: {
          metadata: { name: 'a' },
          status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
        } as unknown as Node,
      }),
  };
}

test('another agent that writes the status of this node is told of, once and for good', () => {
  const { network, problems, lines } = watched('192.0.2.1', '2001:db8::1');
  network(['192.0.2.1', '2001:db8::1']);
  network(['192.0.2.7']);
  network(['192.0.2.1', '2001:db8::1']);
  network(['192.0.2.7']);
  assert.equal(problems().length, 1);
  assert.match(problems()[0] ?? '', /^192\.0\.2\.7 goes by the name a, too: .* one address twice/);
  assert.equal(lines.length, 1);
});

test('what this node itself has said, before a restart or by a former address, is no clash', () => {
  const { network, listed, node, problems } = watched('192.0.2.1');
  listed(['192.0.2.9']);
  network(['192.0.2.9']);
  network(['192.0.2.1']);
  node.ips = [parseIP('192.0.2.5')];
  network(['192.0.2.1']);
  network(['192.0.2.5']);
  network(['192.0.2.6'], 'b');
  network([]);
  assert.deepEqual(problems(), []);
});

test('a Node that names other addresses alone is told of while it does', () => {
  const { object, problems } = watched('192.0.2.1');
  object(['192.0.2.7']);
  assert.match(
    problems()[0] ?? '',
    /^the Node a names 192\.0\.2\.7 and none of this node's addresses, 192\.0\.2\.1/,
  );
  object(['192.0.2.7', '192.0.2.1']);
  assert.deepEqual(problems(), []);
  object([]);
  assert.deepEqual(problems(), []);
});
