// Detaches the attachments whose ids are given as arguments at once, and dies by SIGKILL where their links are marked and the
// kernel is to be told to delete them. Run by attachRecover.test.ts in the node's namespace.
import { detach } from '../../src/attach/detach.ts';
import { noPrograms } from '../../src/attach/podPrograms.ts';
import { RecordStore } from '../../src/attach/record.ts';
import { silentLog } from '../../src/log.ts';
import { type Netlink, openNetlink } from '../../src/netlink/socket.ts';

const [stateDir = '', ...ids] = process.argv.slice(2);
const socket = openNetlink();
const everySocket: Pick<Netlink, 'applyAsync'> = Object.getPrototypeOf(socket);
everySocket.applyAsync = async () => {
  process.kill(process.pid, 'SIGKILL');
};
socket.close();

const records = new RecordStore(stateDir);
for (const id of ids) {
  const record = records.read(id);
  if (record === undefined) throw new Error(`Cannot detach ${id}: it has no record`);
  void detach(record, { programs: noPrograms, records, log: silentLog });
}
