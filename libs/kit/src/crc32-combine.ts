/**
 * The CRC-32 of two pieces put together, from the CRC-32 of each and the length of the second: zlib's
 * `crc32_combine`, which neither Node nor a maintained package offers. Appending n zero bytes multiplies a CRC by x^(8n)
 * modulo the polynomial; powers x^(2^k) come from a table, so that the cost is that of the bits of the length.
 * Polynomials are 32 bits, reflected: the highest bit is x^0.
 */
const POLYNOMIAL = 0xedb88320;

/** The product of two polynomials modulo POLYNOMIAL. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0x80000000; bit !== 0; bit >>>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1;
  }
  return product >>> 0;
}

/** x^(2^k) for k of 0..31; the order of x divides 2^32 - 1, so the table goes round after 32. */
const POWERS: readonly number[] = (() => {
  const powers = [0x40000000];
  for (let k = 1; k < 32; k++) powers.push(multiply(powers[k - 1] ?? 0, powers[k - 1] ?? 0));
  return powers;
})();

/** CRC-32 of A followed by B. `length` is B's, in bytes, up to 2^53 - 1. */
export function crc32Combine(crcA: number, crcB: number, length: number): number {
  let shift = 0x80000000;
  // From bit 3 on, since a byte is eight bits.
  for (let k = 3, rest = length; rest > 0; k++, rest = Math.floor(rest / 2))
    if (rest % 2 === 1) shift = multiply(POWERS[k % 32] ?? 0, shift);
  return (multiply(shift, crcA >>> 0) ^ crcB) >>> 0;
}
