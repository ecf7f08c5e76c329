import { Command } from 'commander';
import { version } from '../version.ts';
import { bgpCommand } from './bgp.ts';

const program = new Command('tombolo')
  .description('The network of hybrid-cloud Kubernetes clusters')
  .version(version)
  .addCommand(bgpCommand());

void program.parseAsync();
