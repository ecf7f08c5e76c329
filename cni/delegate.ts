import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../src/errors.ts';
import type { Variables } from './protocol/environment.ts';
import { CniError, CODE } from './protocol/error.ts';
import { isObject, type JsonObject } from './protocol/members.ts';
import { formatResult, parseResult } from './protocol/result.ts';
import { isVersion, VERSIONS, type Verb, type Version } from './protocol/version.ts';

/** One call of another plugin, as the specification's section 4 "Plugin Delegation" has it. */
export interface Delegation {
  /** The name of the executable. */
  readonly type: string;
  /** Where to look for it, in order: `CNI_PATH`. */
  readonly path: readonly string[];
  /** The `CNI_*` variables of the call, `CNI_COMMAND` aside. */
  readonly variables: Variables;
  /** The network configuration to hand on. */
  readonly json: JsonObject;
}

/** Milliseconds. A DHCP lease may take ten seconds; the kubelet gives up after 120. */
const PATIENCE = 60_000;

/**
 * Runs a verb of another plugin. A plugin that does not know the version of the configuration is asked which
 * ones it knows, and called once more in the newest of those: distributions pair old IPAM plugins with new runtimes.
 *
 * @returns What it printed, undefined for nothing.
 * @throws {CniError} With the plugin's own code; 7 if there is no such plugin.
 */
export async function delegate(verb: Verb, call: Delegation): Promise<JsonObject | undefined> {
  try {
    return await run(verb, call);
  } catch (error) {
    if (!(error instanceof CniError) || error.code !== CODE.incompatibleVersion) throw error;
    const version = await newestCommon(call);
    if (version === undefined || version === call.json.cniVersion) throw error;
    return await run(verb, { ...call, json: reworded(call.json, version) });
  }
}

/** Go's libraries refuse a `prevResult` in another version than the configuration around it. */
function reworded(json: JsonObject, cniVersion: Version): JsonObject {
  const { prevResult } = json;
  if (!isObject(prevResult)) return { ...json, cniVersion };
  return { ...json, cniVersion, prevResult: formatResult(parseResult(prevResult), cniVersion) };
}

/** The newest version that both the other plugin and Tombolo speak. */
export async function newestCommon(call: Delegation): Promise<Version | undefined> {
  const answer = await run('VERSION', call);
  const supported = Array.isArray(answer?.supportedVersions) ? answer.supportedVersions : [];
  return VERSIONS.filter((version) => supported.filter(isVersion).includes(version)).at(-1);
}

async function run(verb: Verb, call: Delegation): Promise<JsonObject | undefined> {
  const program = await findPlugin(call.type, call.path);
  const child = spawn(program, {
    env: { ...ambient(), ...call.variables, CNI_COMMAND: verb },
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: AbortSignal.timeout(PATIENCE),
    killSignal: 'SIGKILL',
  });
  const exchange = await converse(child, JSON.stringify(call.json)).catch((error: unknown) => {
    throw new CniError(CODE.ioFailure, `Cannot run ${program}: ${messageOf(error)}`, { cause: error });
  });
  if (exchange.failure === undefined) return readAnswer(program, exchange.output);
  throw readError(`${call.type} ${verb}`, exchange);
}

/** What the other plugin finds around it, apart from the call: this process may be serving another one. */
function ambient(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CNI_')));
}

/**
 * The executable of a plugin.
 *
 * @throws {CniError} Code 7, if it is in none of the directories.
 */
export async function findPlugin(type: string, path: readonly string[]): Promise<string> {
  for (const directory of path) {
    const program = join(directory, type);
    const found = await access(program, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return program;
  }
  throw new CniError(
    CODE.invalidConfiguration,
    `Cannot find plugin ${JSON.stringify(type)} in CNI_PATH (value ${JSON.stringify(path.join(':'))})`,
  );
}

interface Exchange {
  readonly output: string;
  readonly errors: string;
  /** How it ended, if not with exit code 0. */
  readonly failure: string | undefined;
}

function converse(child: ChildProcess, input: string): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => errors.push(chunk));
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const failure = code === 0 ? undefined : signal ? `was ended by ${signal}` : `ended with code ${code}`;
      resolve({
        output: Buffer.concat(output).toString(),
        errors: Buffer.concat(errors).toString(),
        failure,
      });
    });
    // VERSION leaves its input unread, so that the pipe breaks.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

function readAnswer(program: string, output: string): JsonObject | undefined {
  if (output.trim() === '') return undefined;
  try {
    const answer: unknown = JSON.parse(output);
    if (isObject(answer)) return answer;
  } catch {
    // Told below, with what was printed.
  }
  throw new CniError(
    CODE.undecodable,
    `Cannot read the answer of ${program}: expected a JSON object (value ${JSON.stringify(output.slice(0, 200))})`,
  );
}

function readError(what: string, { output, errors, failure }: Exchange): CniError {
  try {
    const { code, msg, details }: JsonObject = JSON.parse(output);
    if (typeof code === 'number' && typeof msg === 'string') {
      return new CniError(code, `${what}: ${msg}`, typeof details === 'string' ? details : '');
    }
  } catch {
    // Not an error object: the plugin broke before it could print one.
  }
  return new CniError(CODE.failed, `${what} ${failure}`, [errors, output].join('\n').trim().slice(0, 2000));
}
