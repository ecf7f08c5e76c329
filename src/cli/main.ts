import { Command } from 'commander';
import { version } from '../version.ts';

const program = new Command('tombolo')
  .description('The network of hybrid-cloud Kubernetes clusters')
  .version(version);

void program.parseAsync();
