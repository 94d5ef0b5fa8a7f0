/**
 * Output to measure with: a block of lines that look like a compiler's, no two of them alike, so that they compress
 * as build logs do. The shell text writes the very bytes that the function gives.
 */
import { createHash } from 'node:crypto';

const pad = (value: number, width: number) => String(value).padStart(width, '0');

function head(i: number): string {
  const [lib, file, object] = [
    (i * 7919) % 1000,
    (i * 104_729) % 100_000,
    (i * 65_537) % 10_000_000,
  ];
  return `[${pad(i, 7)}] cc -O2 -g -Wall src/lib${pad(lib, 3)}/file${pad(file, 5)}.c -o build/obj/${pad(object, 7)}.o: ok `;
}

/** Line `i` of a block, with its newline `width` bytes long. */
export function line(i: number, width: number): string {
  return `${head(i).padEnd(width - 1, 'x')}\n`;
}

export function block(lines: number, width: number): Buffer {
  return Buffer.from(Array.from({ length: lines }, (_, i) => line(i, width)).join(''));
}

/** Shell text (POSIX, with any awk) that writes the block into a file. */
export function writeBlock(file: string, lines: number, width: number): string {
  const tail = 'x'.repeat(width - 1 - head(0).length);
  const format = `[%07d] cc -O2 -g -Wall src/lib%03d/file%05d.c -o build/obj/%07d.o: ok ${tail}\\n`;
  const values = 'i, (i * 7919) % 1000, (i * 104729) % 100000, (i * 65537) % 10000000';
  return `awk 'BEGIN { for (i = 0; i < ${lines}; i++) printf "${format}", ${values} }' > ${file}`;
}

/** Shell text that writes a file to standard output so many times. */
export const repeat = (file: string, times: number) =>
  `i=0; while [ $i -lt ${times} ]; do cat ${file}; i=$((i + 1)); done`;

/** SHA-256 of the bytes so many times. */
export function sha256OfRepeated(bytes: Buffer, times: number): string {
  const hash = createHash('sha256');
  for (let n = 0; n < times; n++) hash.update(bytes);
  return hash.digest('hex');
}
