const ELF = 0x7f454c46;
const INTERPRETER_HEADER = 3;
/** ELF machine numbers by the engine's name of the architecture. */
const MACHINES: Record<string, number> = {
  amd64: 0x3e,
  arm64: 0xb7,
  arm: 0x28,
  '386': 0x03,
  riscv64: 0xf3,
};

/**
 * True for a Linux program of this architecture that needs no loader and no library: one that runs in an image
 * which holds nothing else.
 */
export function isStaticFor(arch: string, program: Buffer): boolean {
  if (program.length < 64 || program.readUInt32BE(0) !== ELF) return false;
  const little = program[5] === 1;
  const wide = program[4] === 2;
  const u16 = (at: number): number =>
    little ? program.readUInt16LE(at) : program.readUInt16BE(at);
  const u32 = (at: number): number =>
    little ? program.readUInt32LE(at) : program.readUInt32BE(at);
  if (u16(18) !== MACHINES[arch]) return false;
  const table = u32(wide ? 32 : 28);
  const each = u16(wide ? 54 : 42);
  const count = u16(wide ? 56 : 44);
  for (let index = 0; index < count; index++) {
    const at = table + index * each;
    if (at + 4 > program.length || u32(at) === INTERPRETER_HEADER) return false;
  }
  return count > 0;
}
