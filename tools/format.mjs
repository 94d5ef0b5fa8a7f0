#!/usr/bin/env node
// Whether everything is formatted: `oxfmt` looks at all files in a second, and where it would write something else, `prettier`,
// which takes half a minute for all of them, has the last word. (They differ in a handful of places.)
import { join } from 'node:path';
import { root, run, say } from './process.mjs';

const bin = (name) => join(root, 'node_modules/.bin', name);
const { out, status } = await run(bin('oxfmt'), ['--list-different', '.'], {
  capture: true,
  check: false,
});
const different = out.split('\n').filter(Boolean);
if (status !== 0 && different.length === 0) {
  say(`oxfmt ended with ${status}`);
  process.exitCode = 1;
}
if (different.length) {
  const options = ['--check', '--log-level', 'warn', '--ignore-unknown'];
  const asked = await run(bin('prettier'), [...options, ...different], { check: false });
  if (asked.status !== 0) process.exitCode = 1;
}
