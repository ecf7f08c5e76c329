import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { parseIP } from '../../src/address/ip.ts';
import { PROTOCOLS } from '../../src/datapath/maps/endpoint.ts';
import { destroyUdpSockets } from '../../src/datapath/socketDestroy.ts';
import { TestNamespaces } from './namespaces.ts';

const namespaces = new TestNamespaces('tbtudp');
after(() => namespaces.close());

test('UDP sockets connected to a backend that is gone are ended, others are not', async () => {
  const pod = namespaces.create('udp');
  const script = `
import errno, socket, sys
def connected(family, address):
    s = socket.socket(family, socket.SOCK_DGRAM); s.connect(address); s.settimeout(0.1); return s
sockets = [connected(socket.AF_INET, ('127.0.0.1', 5301)), connected(socket.AF_INET6, ('::ffff:127.0.0.1', 5301)),
           connected(socket.AF_INET6, ('::1', 5301)), connected(socket.AF_INET, ('127.0.0.1', 5302))]
print('ready', flush=True)
sys.stdin.readline()
for s in sockets:
    try:
        s.recv(1)
    except OSError as error:
        print(errno.errorcode.get(error.errno, 'timeout'), flush=True)
`;
  const child = pod.start('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  while (said === '') await setTimeout(10);
  const ended = pod.inside(() =>
    destroyUdpSockets([
      { address: parseIP('127.0.0.1'), port: 5301, protocol: PROTOCOLS.UDP },
      { address: parseIP('127.0.0.1'), port: 5302, protocol: PROTOCOLS.TCP },
    ]),
  );
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.stdin?.end('\n');
  await closed;
  assert.equal(ended, 2);
  assert.deepEqual(said.trim().split('\n'), ['ready', 'ECONNABORTED', 'ECONNABORTED', 'timeout', 'timeout']);
});
