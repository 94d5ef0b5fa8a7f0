/**
 * With IMPGEM_BENCH_PROFILE=FOLDER masters and workers write processor profiles into that folder when they end, and
 * this tells what stands out in them: `node bench/dist/profile.js FOLDER`.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ROOT } from '@impgem/e2e';

/** Environment of a program that shall be profiled; none when nobody asked for it. */
export function profiled(name: string): Record<string, string> {
  const folder = process.env.IMPGEM_BENCH_PROFILE;
  if (!folder) return {};
  const profiler = new URL('./profiler.js', import.meta.url).href;
  return {
    NODE_OPTIONS: `--import ${profiler}`,
    BENCH_PROFILE_FOLDER: join(resolve(folder), name),
  };
}

interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}

/** Milliseconds of its own by place, and in all. */
function selfTimes(profile: Profile): { all: number; places: Map<string, number> } {
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const path = url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : url;
      const where = path ? ` ${path.replace(/^.*node_modules\//, '')}:${lineNumber + 1}` : '';
      return [id, `${functionName || '(anonymous)'}${where}`];
    }),
  );
  const places = new Map<string, number>();
  let all = 0;
  for (const [index, id] of profile.samples.entries()) {
    const ms = (profile.timeDeltas[index] ?? 0) / 1000;
    const name = names.get(id) ?? '?';
    all += ms;
    places.set(name, (places.get(name) ?? 0) + ms);
  }
  return { all, places };
}

function tell(path: string): void {
  const { all, places } = selfTimes(JSON.parse(readFileSync(path, 'utf8')) as Profile);
  const busy = all - (places.get('(idle)') ?? 0);
  console.log(`\n${path}: ${Math.round(all)} ms, ${Math.round(busy)} ms of them busy`);
  places.delete('(idle)');
  for (const [name, ms] of [...places].toSorted(([, a], [, b]) => b - a).slice(0, 40))
    console.log(
      `${((ms / busy) * 100).toFixed(1).padStart(6)} % ${ms.toFixed(0).padStart(7)} ms  ${name}`,
    );
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href)
  for (const file of readdirSync(process.argv[2] ?? '.', { recursive: true, encoding: 'utf8' }))
    if (file.endsWith('.cpuprofile')) tell(join(process.argv[2] ?? '.', file));
