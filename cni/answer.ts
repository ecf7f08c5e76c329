import { messageOf } from '../src/errors.ts';
import type { Answer } from './agentSocket.ts';
import {
  answerVersion,
  type Configuration,
  decodeConfiguration,
  networkName,
  parseConfiguration,
  statedVersion,
} from './protocol/configuration.ts';
import { type Environment, parseEnvironment, type Variables } from './protocol/environment.ts';
import { asCniError, CniError, CODE, formatError } from './protocol/error.ts';
import { NEWEST, negotiate, type Version, versionResult } from './protocol/version.ts';

/** A call that has been read and found in order. */
export interface Request {
  readonly environment: Exclude<Environment, { verb: 'VERSION' }>;
  readonly configuration: Configuration;
  /** The version the answer is worded in. */
  readonly version: Version;
}

/**
 * Reads a call, serves it, and words the answer. Nothing is thrown: whatever goes wrong is an error object.
 *
 * @param input Standard input, read only for verbs that have any: VERSION may come with a pipe nobody closes.
 * @param serve Does the verb; what it returns is printed, if anything.
 */
export async function answer(
  variables: Variables,
  input: () => string | Promise<string>,
  serve: (request: Request) => Promise<object | undefined>,
): Promise<Answer> {
  let version = NEWEST;
  try {
    const environment = parseEnvironment(variables);
    if (environment.verb === 'VERSION') return { ok: true, body: versionResult() };
    const json = decodeConfiguration(await readInput(input));
    version = answerVersion(json);
    networkName(json);
    negotiate(statedVersion(json), environment.verb);
    const result = await serve({ environment, configuration: parseConfiguration(json), version });
    return { ok: true, body: result === undefined ? '' : `${JSON.stringify(result)}\n` };
  } catch (error) {
    return { ok: false, body: formatError(asCniError(error), version) };
  }
}

async function readInput(input: () => string | Promise<string>): Promise<string> {
  try {
    return await input();
  } catch (error) {
    throw new CniError(CODE.ioFailure, `Cannot read network configuration: ${messageOf(error)}`);
  }
}
