// Node 20 does not hand `--import tsx` on to worker threads, so one that runs from the source tree begins here.
import { register } from 'tsx/esm/api';

register();
await import('../../cli/main.ts');
