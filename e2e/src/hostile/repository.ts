/**
 * A repository whose content, and builders whose steps, try to end, fill or mislead whoever builds them: names, sizes,
 * links, sockets, output, depth, numbers, forks. All of it within bounds, so that it can run beside a farm on one machine:
 * a build writes at most 300 MiB to disk and 40 MiB to its log, makes at most 100,000 files, and has 300 processes. The
 * same seed gives the same.
 */

import { Chance } from '../sim/chance.js';

export interface HostileRepository {
  /** Path → content, for `makeRepository`. */
  files: Record<string, string | Buffer>;
  /** For the farm file, each under a name of its own. */
  builders: Record<string, object>;
  /** The builders alone, as a farm file. */
  farmFile: string;
}

/** Names that a file system takes and that programs stumble over. */
const NAMES = [
  '-rf',
  '--help',
  'a\nb',
  'tab\there',
  'with space',
  'quote"\'$(touch pwned)`id`',
  '\u001b]0;title\u0007',
  '\u009b31mred',
  '\u202etxt.exe',
  'cafe\u0301',
  'caf\u00e9',
  'CON',
  'c:x',
  'back\\slash',
  'semi;colon&pipe|',
  'trailing.',
  '...',
  '%2e%2e%2f',
  'x'.repeat(255),
  '\u{1f600}'.repeat(60),
];

function filesOf(pick: (below: number) => number): Record<string, string | Buffer> {
  const files: Record<string, string | Buffer> = {
    'README.md': 'a repository\n',
    '.gitattributes': '* filter=evil diff=evil merge=evil\n*.big filter=lfs\n',
    '.gitmodules': '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch /tmp/pwned"\n',
    '.impgem/client.json': '{"url":"http://127.0.0.1:1","tokenFile":"../../etc/hostname"}\n',
    'worker.yml': 'executor: host\nallowHostExecutor: true\n',
    Makefile: 'all:\n\techo upper\n',
    makefile: 'all:\n\techo lower\n',
    'random.big': Buffer.from(Array.from({ length: 4096 }, () => pick(256))),
  };
  for (const name of NAMES) files[`names/${name}`] = `${name.length}\n`;
  files[`${`deep/${'d'.repeat(40)}/`.repeat(20)}file`] = 'deep\n';
  return files;
}

const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

interface Deed {
  name: string;
  run: string;
  artifacts?: string[];
}

function deedsOf(pick: (below: number) => number): Deed[] {
  const names = NAMES.map((name) => quoted(name)).join(' ');
  return [
    {
      name: 'names',
      run: `mkdir -p out; cd out; for name in ${names}; do echo x > "./$name" || true; done; printf x > "$(printf 'bad\\377utf')"`,
      artifacts: ['out/**'],
    },
    {
      name: 'links',
      run: 'mkdir -p out; cd out; ln -s /etc/passwd passwd; ln -s / root; ln -s . loop; ln -s ../../.. up; ln -s nowhere broken; ln -s /proc/self/fd/1 fd; echo x > x; ln x y; mkfifo pipe; chmod 000 x; ls -R root/../.. | head -c 100000',
      artifacts: ['out/**', 'out/root/etc/*'],
    },
    {
      name: 'sockets',
      run: 'mkdir -p out; timeout 2 nc -l -p 7777 -s 127.0.0.1 & (timeout 2 nc -lU out/socket || true) 2>/dev/null & sleep 1; echo x > out/file',
      artifacts: ['out/*'],
    },
    {
      name: 'flood',
      run: `(head -c ${5_000_000 + pick(15_000_000)} /dev/urandom; yes "$(printf '\\033[2J\\033]52;c;eA==\\007\\302\\233A')" | head -c 10000000; yes '' | head -c 2000000; head -c 3000000 /dev/zero) | tee /dev/stderr | tail -c 10`,
    },
    {
      name: 'reopened',
      run: 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "line $i" > /dev/stdout; echo "line $i" > /dev/stderr; : > /proc/self/fd/1; done; exec 2>/dev/stdout; truncate -s 0 /dev/stdout; echo end',
    },
    {
      name: 'deep',
      run: `n=$(printf 'd%.0s' $(seq 1 ${200 + pick(50)})); i=0; while [ $i -lt 60 ]; do i=$((i+1)); mkdir $n && cd -P $n || break; done; echo x > file; chmod 0555 . ; cd /`,
      artifacts: ['**/file'],
    },
    {
      name: 'modes',
      run: 'mkdir -p a/b/c ro; echo x > a/b/c/f; echo x > ro/f; chmod 0555 ro; chmod 000 a/b; chmod 7777 . ; touch -d 1901-01-01 ro || true',
      artifacts: ['**/f'],
    },
    {
      name: 'sparse',
      run: `mkdir -p out; truncate -s 40G out/sparse; dd if=/dev/zero of=out/real bs=1M count=${100 + pick(150)} 2>/dev/null; echo x > out/small`,
      artifacts: ['out/*'],
    },
    {
      name: 'many',
      run: `mkdir -p out; cd out; i=0; while [ $i -lt 100 ]; do i=$((i+1)); mkdir $i; j=0; while [ $j -lt ${500 + pick(500)} ]; do j=$((j+1)); : > $i/$j; done; done`,
      artifacts: ['out/**/1*'],
    },
    {
      name: 'globs',
      run: 'p=$(printf "build/%.0s" $(seq 1 120)); mkdir -p $p; i=0; while [ $i -lt 300 ]; do i=$((i+1)); : > $p/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa$i; done',
      artifacts: ['**/build/**/*a*a*a*.log', '**/build/**/build/**/*'],
    },
    {
      name: 'forks',
      run: 'i=0; while [ $i -lt 300 ]; do i=$((i+1)); (trap "" TERM HUP; sleep 5; echo late) & done; (setsid sh -c "while :; do echo left; sleep 0.1; done" &); echo main',
    },
    {
      name: 'memory',
      run: `x=$(head -c ${100_000_000 + pick(100_000_000)} /dev/zero | tr '\\0' x); echo \${#x}; kill -9 $$`,
    },
    {
      name: 'network',
      run: 'for at in 169.254.169.254 168.63.129.16 100.100.100.200 $(ip route | awk "/default/{print \\$3}"); do for port in 80 2375 5432 8010; do nc -w 1 $at $port </dev/null && echo "reached $at:$port"; done; done; echo 6.6.6.6 x > /etc/hosts; chmod 000 /etc/resolv.conf; true',
    },
  ];
}

/** `source`: address of the repository that was made of the files; without it the steps begin in an empty workspace. */
export function hostileRepository(seed: number, source?: string): HostileRepository {
  const chance = new Chance(seed);
  const pick = (below: number): number => chance.int(0, below - 1);
  const files = filesOf(pick);
  const builders = Object.fromEntries(
    deedsOf(pick).map(({ name, run, artifacts }) => [
      `hostile-${name}`,
      {
        image: 'busybox:1.37',
        timeout: '2m',
        retry: { infrastructure: 0, failure: 0 },
        ...(source === undefined ? {} : { source }),
        ...(artifacts ? { artifacts } : {}),
        steps: [{ name, run }],
      },
    ]),
  );
  return { files, builders, farmFile: JSON.stringify({ builders }) };
}
