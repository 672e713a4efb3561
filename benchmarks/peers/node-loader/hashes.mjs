// SHA-256, and the DER encoding of the structures that Fabric hashes or signs.
import { createHash } from "node:crypto";

export function sha256(bytes) {
  return createHash("sha256").update(bytes).digest();
}

export function derSequence(...parts) {
  return derValue(0x30, Buffer.concat(parts));
}

export function derBytes(bytes) {
  return derValue(0x04, Buffer.from(bytes));
}

// Returns the DER encoding of an integer that is not negative.
export function derInteger(value) {
  let hex = value.toString(16);
  hex = hex.length % 2 === 1 ? `0${hex}` : hex;
  const isNegative = parseInt(hex.slice(0, 2), 16) >= 0x80;
  return derValue(0x02, Buffer.from(isNegative ? `00${hex}` : hex, "hex"));
}

// The content has less than 128 bytes in all structures of this program.
function derValue(tag, content) {
  return Buffer.concat([Buffer.from([tag, content.length]), content]);
}
