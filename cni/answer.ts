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

type Served = Exclude<Environment, { verb: 'VERSION' }>;

/** A call that has been read and found in order. */
export interface Call<E extends Served = Served> {
  readonly environment: E;
  readonly configuration: Configuration;
  /** The version the answer is worded in. */
  readonly version: Version;
}

/** A call of one verb. */
export type CallOf<V extends Served['verb']> = Call<Extract<Served, { verb: V }>>;

/** The answer that prints a result, or nothing for verbs that have none. */
export function success(result?: object): Answer {
  return { ok: true, body: result === undefined ? '' : `${JSON.stringify(result)}\n` };
}

/**
 * Reads a call, has it served, and words the answer. Nothing is thrown: whatever goes wrong is an error object.
 *
 * @param input Standard input, read only for verbs that have any: VERSION may come with a pipe nobody closes.
 * @param serve Gets the input too, for handing it on.
 */
export async function answer(
  variables: Variables,
  input: () => string | Promise<string>,
  serve: (call: Call, input: string) => Promise<Answer>,
): Promise<Answer> {
  let version = NEWEST;
  try {
    const environment = parseEnvironment(variables);
    if (environment.verb === 'VERSION') return { ok: true, body: versionResult() };
    const text = await readInput(input);
    const json = decodeConfiguration(text);
    version = answerVersion(json);
    networkName(json);
    negotiate(statedVersion(json), environment.verb);
    return await serve({ environment, configuration: parseConfiguration(json), version }, text);
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
