#!/usr/bin/env node
// Completes package-lock.json after `npm install`: some registries answer 404 for a few platform builds, npm then
// leaves those optional packages out of the lock, and `npm ci` fails with "Missing: ... from lock file".
// Usage: node lockfix.mjs [package-lock.json]
import fs from 'node:fs';
const f = process.argv[2] ?? 'package-lock.json',
  lock = JSON.parse(fs.readFileSync(f)),
  P = lock.packages;
let n = 0;
const found = (from, name) => {
  for (let d = from; ;) {
    if (P[(d ? d + '/' : '') + 'node_modules/' + name]) return true;
    if (!d) return false;
    const i = d.lastIndexOf('node_modules/');
    d = i <= 0 ? '' : d.slice(0, i - 1);
  }
};
for (const [k, v] of Object.entries({ ...P }))
  for (const [name, range] of Object.entries(v.optionalDependencies ?? {})) {
    if (found(k, name)) continue;
    const os = [
      'android',
      'darwin',
      'freebsd',
      'linux',
      'win32',
      'openharmony',
      'netbsd',
      'openbsd',
      'sunos',
      'aix',
    ].filter((o) => name.includes(o));
    if (/windows/.test(name)) os.push('win32');
    const cpu = /arm64|aarch64/.test(name)
      ? 'arm64'
      : /x64|x86_64|x86-64/.test(name)
        ? 'x64'
        : (/riscv64|ppc64|s390x|ia32|wasm32|loong64|mips64el/.exec(name)?.[0] ??
          (/i686/.test(name) ? 'ia32' : /arm/.test(name) ? 'arm' : ''));
    const e = { version: range.replace(/^[\^~]/, ''), optional: true };
    if (v.dev) e.dev = true;
    if (os.length) e.os = os;
    if (cpu) e.cpu = [cpu];
    if (/musl/.test(name)) e.libc = ['musl'];
    else if (/gnu/.test(name)) e.libc = ['glibc'];
    P['node_modules/' + name] ??= e;
    n++;
  }
lock.packages = Object.fromEntries(Object.entries(P).sort(([a], [b]) => (a < b ? -1 : 1)));
fs.writeFileSync(f, JSON.stringify(lock, null, 2) + '\n');
console.log('added', n);
