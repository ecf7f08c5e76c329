import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CniError, CODE } from '../../cni/protocol/error.ts';
import type { Happening, Involved } from '../store/events.ts';
import { tellFailure } from './addressEvents.ts';

function told(code: number, message: string): string[] {
  const lines: string[] = [];
  const record = ({ kind, name }: Involved, { reason }: Happening) => lines.push(`${kind} ${name} ${reason}`);
  tellFailure({ record }, { namespace: 'shop', name: 'web-0' }, new CniError(code, message));
  return lines;
}

test('a pod without address is told of it, and its namespace where that is what is written wrong', () => {
  const typo =
    'Cannot draw from pool nmaed, named by annotation … of namespace shop: there is no pool of this name';
  assert.deepEqual(told(CODE.invalidConfiguration, typo), [
    'Pod web-0 IPAllocationFailed',
    'Namespace shop IPAllocationFailed',
  ]);
  const own =
    'Cannot draw from pool nmaed, named by annotation … of pod shop/web-0: there is no pool of this name';
  assert.deepEqual(told(CODE.invalidConfiguration, own), ['Pod web-0 IPAllocationFailed']);
  assert.deepEqual(told(CODE.tryAgainLater, 'every one is in use'), ['Pod web-0 IPAllocationFailed']);
});
