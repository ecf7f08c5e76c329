import { Command } from 'commander';
import { commit, version } from '../version.ts';
import { type OutputFormat, withOutput } from './options.ts';
import { print, printJson } from './print.ts';

/** `tombolo version`: also of what commit and on what Node. */
export function versionCommand(): Command {
  return withOutput(new Command('version'), 'table', 'json')
    .description('print the version')
    .action(({ output }: { output: OutputFormat }) => {
      if (output === 'json') printJson({ version, commit, node: process.versions.node });
      else print(`tombolo ${version}${commit && ` (${commit})`}\n`);
    });
}
