import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parseIP } from '../../src/address/ip.ts';
import { parseMac } from '../../src/address/mac.ts';
import { readSpec } from '../../src/attach/recordText.ts';
import { isDefunct } from '../../src/ebpf/link.ts';
import { listPins } from '../../src/ebpf/pin.ts';
import { openNetlink } from '../../src/netlink/socket.ts';
import {
  both,
  directory,
  filtersOf,
  host,
  linkOf,
  listed,
  macvlan,
  NIC,
  newPod,
  programId,
  records,
} from './datapathPodScene.ts';

describe('a pod on a veth', () => {
  test('gets filters on its own interfaces and is listed; twice is once', () => {
    const { namespace, pod, cookie, close } = newPod('a', { kind: 'veth' });
    for (let times = 0; times < 2; times++) namespace.inside(() => both.attach(pod));
    for (const [device, direction, program] of [
      ['eth0', 'egress', 'tb_eth0_egress'],
      ['eth0', 'ingress', 'tb_eth0_ingress'],
      ['lo', 'egress', 'tb_lo'],
    ] as const) {
      const shown = filtersOf(namespace, device, direction);
      assert.deepEqual(shown.match(/handle 0x6f tb_\w+/g), [`handle 0x6f ${program}`]);
      assert.match(shown, /direct-action/);
    }
    assert.deepEqual(listed(cookie), { flags: 3, ipv4: parseIP('10.1.0.7'), ipv6: parseIP('fd01::7') });
    namespace.inside(() => both.check(pod));
    close();
  });

  test('has programs at both ends, and its addresses are forgotten also if the attachment was never completed', () => {
    const { id, namespace, pod, close } = newPod('half', { kind: 'veth' });
    const recorded = records.read(id);
    assert.notEqual(recorded, undefined);
    if (recorded === undefined) return;
    const mac = parseMac('02:00:00:00:00:02');
    const index = Number(host.ip('link show dev v-half')[0].ifindex);
    const end = {
      spec: readSpec(recorded.spec),
      host: { name: 'v-half', mac, index },
      pod: { name: 'eth0', mac, mtu: 1500, index: pod.index },
      netlink: host.inside(openNetlink),
    };
    namespace.inside(() => both.attach({ ...pod, hostIndex: index }, end));
    assert.match(filtersOf(host, 'v-half', 'ingress'), /handle 0x6f tb_host_ingress/);
    assert.match(filtersOf(host, 'v-half', 'egress'), /handle 0x6f tb_host_egress/);
    both.checkHost(end);
    const { attached: _, ...unfinished } = recorded;
    records.write({ ...unfinished, state: 'detaching' });
    both.detach(id);
    assert.throws(() => both.checkHost(end), /Cannot find the pod in tb_pods/);
    records.remove(id);
    end.netlink.close();
    close();
  });

  test('is found out when a filter is missing or is another', () => {
    const { namespace, pod, close } = newPod('b', { kind: 'veth' });
    namespace.inside(() => both.attach(pod));
    namespace.run('tc', 'filter', 'del', 'dev', 'eth0', 'ingress');
    assert.throws(
      () => namespace.inside(() => both.check(pod)),
      /Cannot find tb_eth0_ingress at ingress of interface \d+: nothing is attached/,
    );
    close();
  });

  test('is not listed any more once detached, and detaching again does nothing', () => {
    const { id, namespace, pod, cookie, close } = newPod('c', { kind: 'veth' });
    namespace.inside(() => both.attach(pod));
    both.detach(id);
    both.detach(id);
    assert.equal(listed(cookie), undefined);
    records.remove(id);
    close();
  });
});

describe('a pod with its own device', () => {
  test('gets links that tc does not see and the pod cannot remove', () => {
    const { id, namespace, pod, close } = newPod('d', NIC);
    for (let times = 0; times < 2; times++) namespace.inside(() => both.attach(pod));
    assert.deepEqual(listPins(directory.podLinks(id)), ['tb_eth0_egress', 'tb_eth0_ingress', 'tb_lo']);
    assert.equal(filtersOf(namespace, 'eth0', 'egress'), '');
    namespace.attempt('tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact');
    namespace.inside(() => both.check(pod));
    both.detach(id);
    assert.equal(existsSync(directory.podLinks(id)), false);
    assert.throws(() => namespace.inside(() => both.check(pod)), /nothing is attached/);
    records.remove(id);
    close();
  });

  test('keeps the program of its loopback device while one of several attachments is left', () => {
    const first = newPod('e', NIC);
    const second = newPod('e2', NIC, 'net1', first.namespace);
    first.namespace.inside(() => both.attach(first.pod));
    second.namespace.inside(() => both.attach(second.pod));
    second.namespace.inside(() => both.check(second.pod));
    both.detach(first.id);
    records.remove(first.id);
    assert.ok(listPins(directory.podLinks(second.id)).includes('tb_lo'));
    assert.equal(linkOf(second.id, 'tb_lo').programId, programId('tb_lo'));
    assert.notEqual(listed(second.cookie), undefined);
    both.detach(second.id);
    records.remove(second.id);
    assert.equal(listed(second.cookie), undefined);
    first.close();
    second.close();
  });

  test('that is gone leaves defunct links, which detach removes', () => {
    const { id, namespace, pod, close } = newPod('f', NIC);
    namespace.inside(() => both.attach(pod));
    namespace.run('ip', 'link', 'del', 'eth0');
    assert.equal(isDefunct(linkOf(id, 'tb_eth0_egress')), true);
    both.detach(id);
    assert.equal(existsSync(directory.podLinks(id)), false);
    records.remove(id);
    close();
  });

  test('gets fresh links where its device was made anew', () => {
    const { id, namespace, pod, close } = newPod('g', NIC);
    namespace.inside(() => both.attach(pod));
    namespace.run('ip', 'link', 'del', 'eth0');
    host.run(...macvlan('m-again'));
    host.run('ip', 'link', 'set', 'm-again', 'netns', namespace.name, 'name', 'eth0');
    const index = Number(namespace.ip('link show dev eth0')[0].ifindex);
    namespace.inside(() => both.attach({ ...pod, index }));
    namespace.inside(() => both.check({ ...pod, index }));
    both.detach(id);
    records.remove(id);
    close();
  });
});
