declare const mac: unique symbol;

/** An Ethernet address as lower-case text with colons: `02:00:00:00:00:01`. */
export type Mac = string & { readonly [mac]: true };

/**
 * Parses six bytes in hex, separated by colons or hyphens.
 *
 * @throws {SyntaxError} If `text` is not an Ethernet address.
 */
export function parseMac(text: string): Mac {
  if (!/^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$/.test(text)) {
    throw new SyntaxError(
      `Cannot parse MAC address: expected six bytes in hex (value ${JSON.stringify(text)})`,
    );
  }
  return text.toLowerCase().replaceAll('-', ':') as Mac;
}

/** Six bytes. */
export function macBytes(mac: Mac): Buffer {
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/**
 * @throws {RangeError} If there are not six bytes.
 */
export function macFromBytes(bytes: Uint8Array): Mac {
  if (bytes.byteLength !== 6) {
    throw new RangeError(`Cannot read MAC address: expected 6 bytes (value ${bytes.byteLength})`);
  }
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':') as Mac;
}
