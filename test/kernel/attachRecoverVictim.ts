// Attaches one pod, by the specification on standard input, and dies by SIGKILL before the step of the number given
// as argument; with `none` it lives and prints how long all took. Run by attachRecover.test.ts in the node's namespace.
import { readFileSync } from 'node:fs';
import { attach } from '../../src/attach/attach.ts';
import { noPrograms } from '../../src/attach/podPrograms.ts';
import { RecordStore } from '../../src/attach/record.ts';
import { readSpec, type SpecText } from '../../src/attach/recordText.ts';

const [stateDir = '', fatal = 'none'] = process.argv.slice(2);
const specs: SpecText[] = JSON.parse(readFileSync(0, 'utf8'));
let count = 0;
const onStep = () => {
  if (String(count++) === fatal) process.kill(process.pid, 'SIGKILL');
};
for (const spec of specs) {
  attach(readSpec(spec), { programs: noPrograms, records: new RecordStore(stateDir), onStep });
}
