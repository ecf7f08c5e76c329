import { parentPort, workerData } from 'node:worker_threads';
import { messageOf } from '../../errors.ts';
import { createLog } from '../../log.ts';
import { startSpeaker } from './compose.ts';
import type { FromThread, ThreadData, ToThread } from './protocol.ts';

/**
 * The speaker's thread: sessions keep their timers whatever keeps the main thread busy.
 *
 * @throws {Error} If this is no worker thread.
 */
export function runThread(): void {
  const port = parentPort;
  if (port === null) throw new Error('Cannot run the speaker: this is no worker thread');
  const tell = (message: FromThread) => port.postMessage(message);
  const { config, state, logLevel } = workerData as ThreadData;
  const log = createLog((line) => tell({ type: 'log', line }), logLevel, 'bgp');
  try {
    const speaker = startSpeaker(config, { log, state, report: (event) => tell({ type: 'event', event }) });
    port.on('message', (message: ToThread) => {
      if (message.type === 'configure') {
        try {
          speaker.configure(message.config);
        } catch (error) {
          tell({ type: 'failed', error: messageOf(error) });
        }
      } else if (message.type === 'ask') {
        const { id, method, path } = message;
        void Promise.resolve(speaker.answer(method, path)).then((answer) =>
          tell({ type: 'answer', id, answer }),
        );
      } else {
        void speaker.stop(message.how, message.text).then(() => {
          tell({ type: 'stopped' });
          port.close();
        });
      }
    });
    tell({ type: 'started' });
  } catch (error) {
    tell({ type: 'failed', error: messageOf(error) });
    port.close();
  }
}
