import { CniError, CODE } from './error.ts';

/** The verbs a runtime may call. */
export const VERBS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Verb = (typeof VERBS)[number];

/** Versions of the specification that Tombolo speaks, oldest first. */
export const VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type Version = (typeof VERSIONS)[number];

export const NEWEST: Version = '1.1.0';

/** The version that brought a verb in, where that was after 0.3.1. */
const SINCE: Partial<Record<Verb, Version>> = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

/** A configuration without `cniVersion` is one of the time before the field was mandatory. */
const UNSTATED = '0.1.0';

export function isVersion(text: unknown): text is Version {
  return VERSIONS.some((version) => version === text);
}

export function atLeast(version: Version, other: Version): boolean {
  return VERSIONS.indexOf(version) >= VERSIONS.indexOf(other);
}

/**
 * The version in which `verb` is to be answered.
 *
 * @throws {CniError} Code 1, if Tombolo does not speak that version or the version does not know the verb.
 */
export function negotiate(stated: string | undefined, verb: Verb): Version {
  const version = stated ?? UNSTATED;
  if (!isVersion(version)) {
    throw new CniError(
      CODE.incompatibleVersion,
      `Cannot ${verb}: CNI version ${JSON.stringify(version)} is not supported, ${VERSIONS.join(', ')} are`,
      `the configuration says ${stated === undefined ? 'no cniVersion, which means 0.1.0' : JSON.stringify(stated)}, the plugin supports ${JSON.stringify(VERSIONS)}`,
    );
  }
  const since = SINCE[verb] ?? VERSIONS[0];
  if (!atLeast(version, since)) {
    throw new CniError(
      CODE.incompatibleVersion,
      `Cannot ${verb}: the verb came with CNI version ${since} (cniVersion ${JSON.stringify(version)})`,
      `the plugin supports ${JSON.stringify(VERSIONS)}`,
    );
  }
  return version;
}

/** The answer to VERSION. */
export function versionResult(): string {
  return `${JSON.stringify({ cniVersion: NEWEST, supportedVersions: VERSIONS })}\n`;
}
