/**
 * Loaded into a program before its own modules (`--import`): profiles it until it ends. Node 20 takes no --cpu-prof in
 * NODE_OPTIONS.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { basename, join } from 'node:path';

const folder = process.env.BENCH_PROFILE_FOLDER;
if (folder !== undefined) {
  const session = new Session();
  session.connect();
  session.post('Profiler.enable');
  session.post('Profiler.start');
  process.once('exit', () => {
    session.post('Profiler.stop', (error, result) => {
      if (error) return;
      mkdirSync(folder, { recursive: true });
      const name = basename(process.argv[1] ?? 'node', '.js');
      writeFileSync(
        join(folder, `${name}.${process.pid}.cpuprofile`),
        JSON.stringify(result.profile),
      );
    });
  });
}
