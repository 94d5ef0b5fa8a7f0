/** All figures, in the order of the page; a row's first figure has the row's name. */
import type { Bar, Figure } from './result.js';

const least = (of: Bar['of'], bar: number, goal = bar): Bar => ({ of, is: '≥', bar, goal });
const most = (of: Bar['of'], bar: number, goal = bar): Bar => ({ of, is: '≤', bar, goal });

const BUILDBOT = 'Buildbot (Debian)';
const DOCKER_RUN = 'docker run --rm';
const ATTACH = 'attach to the same container, output thrown away';

export const FIGURES = {
  dispatch: {
    what: 'Builds of one step `true` on the host in a second: 2 workers of 4 slots, one POST a build, 8 in flight',
    unit: 'builds/s',
    peer: BUILDBOT,
    bars: [least('ratio', 40, 100)],
  },
  five: {
    what: 'The same with five steps',
    unit: 'builds/s',
    peer: BUILDBOT,
    bars: [least('ratio', 20, 40)],
  },
  latency: {
    what: 'Idle farm, one step `true` on the host: from the POST to the news of the end, median',
    unit: 'ms',
    peer: BUILDBOT,
    bars: [most('value', 30, 15)],
  },
  'latency.p99': {
    what: '… the slowest of a hundred',
    unit: 'ms',
    peer: null,
    bars: [most('value', 80)],
  },
  'latency.start': {
    what: 'Idle farm: from the POST until the step’s process reads the clock, median',
    unit: 'ms',
    peer: null,
    bars: [most('value', 15, 8)],
  },
  'latency.start.p99': {
    what: '… the slowest of a hundred',
    unit: 'ms',
    peer: null,
    bars: [most('value', 50)],
  },
  container: {
    what: 'A build of one step `true` in a container, with volume, network, limits and policy: from the POST to the news of the end',
    unit: 'ms',
    peer: DOCKER_RUN,
    bars: [most('ratio', 0.5, 0.4)],
  },
  'container.parallel': {
    what: 'Such builds in a second, four at once',
    unit: 'builds/s',
    peer: `xargs -P4 ${DOCKER_RUN}`,
    bars: [least('ratio', 1.5, 2.5)],
  },
  chain: {
    what: 'A build of five such steps',
    unit: 'ms',
    peer: `five times ${DOCKER_RUN}`,
    bars: [most('ratio', 0.45, 0.35)],
  },
  log: {
    what: '200 MiB of lines of 100 bytes from a container, until all is committed on the master',
    unit: 'MiB/s',
    peer: ATTACH,
    bars: [least('ratio', 0.7, 0.9), least('value', 50)],
  },
  'log.host': {
    what: 'The same from a process on the host',
    unit: 'MiB/s',
    peer: BUILDBOT,
    bars: [least('ratio', 30)],
  },
  shortlines: {
    what: '20 MiB of lines of 2 bytes, on both streams, every byte of each stream in its place',
    unit: 'MiB/s',
    peer: ATTACH,
    bars: [least('ratio', 0.7)],
  },
  loglatency: {
    what: '1,000 lines a second from a container: from the clock inside the line to a live viewer, median',
    unit: 'ms',
    peer: null,
    bars: [most('value', 60, 20)],
  },
  'loglatency.p99': {
    what: '… the slowest of a hundred; none missing',
    unit: 'ms',
    peer: null,
    bars: [most('value', 150, 100)],
  },
  biglog: {
    what: 'A log of 1 GiB with 10 million lines: to open it at any line, median',
    unit: 'ms',
    peer: null,
    bars: [most('value', 50)],
  },
  'biglog.tail': {
    what: '… its last 100 lines, median',
    unit: 'ms',
    peer: null,
    bars: [most('value', 50)],
  },
  'biglog.search': {
    what: '… to find a word that stands in it once',
    unit: 'MB/s',
    peer: null,
    bars: [least('value', 200)],
  },
  'biglog.rss': {
    what: '… what the master’s memory grows by meanwhile, and while all of it is read once',
    unit: 'MiB',
    peer: null,
    bars: [most('value', 64)],
  },
  backlog: {
    what: 'Claims in a second with 100,000 requests waiting, 90,000 of them for labels that nobody has',
    unit: 'claims/s',
    peer: 'with 100 waiting',
    bars: [least('ratio', 0.9)],
  },
  'backlog.p99': {
    what: '… from the credit to the `assign` it brings, the slowest of a hundred, one at a time',
    unit: 'ms',
    peer: 'with 100 waiting',
    bars: [most('value', 10)],
  },
  fleet: {
    what: '5,000 idle workers on one master: its memory for each',
    unit: 'KiB',
    peer: null,
    bars: [most('value', 40)],
  },
  'fleet.cpu': {
    what: '… its processor time',
    unit: '% of a core',
    peer: null,
    bars: [most('value', 10)],
  },
  'fleet.back': {
    what: '… all cut at once while builds run: until the last is back',
    unit: 's',
    peer: null,
    bars: [most('value', 15)],
  },
  viewers: {
    what: '500 live viewers of a log of 1,000 lines a second, 50 of them stalled: the others’ delay, the slowest of a hundred',
    unit: 'ms',
    peer: null,
    bars: [most('value', 300)],
  },
  'viewers.rss': {
    what: '… what the master’s memory grows by',
    unit: 'MiB',
    peer: null,
    bars: [most('value', 128)],
  },
  artifacts: {
    what: 'A file of 1 GiB, until the master has stored it',
    unit: 'MiB/s',
    peer: 'docker cp to disk',
    bars: [least('ratio', 0.6)],
  },
  'artifacts.small': {
    what: '20,000 files of 2 KiB',
    unit: 'files/s',
    peer: 'tar from the container, piped to disk',
    bars: [least('ratio', 0.5)],
  },
  history: {
    what: '`dispatch` with 1,000,000 finished builds in the database, each with steps, log and events',
    unit: 'builds/s',
    peer: 'an empty database',
    bars: [least('ratio', 0.9)],
  },
  'history.latency': {
    what: '… `latency` likewise',
    unit: 'ms',
    peer: 'an empty database',
    bars: [most('ratio', 1.1)],
  },
  idle: {
    what: 'An idle master with one worker: its memory',
    unit: 'MB',
    peer: null,
    bars: [most('value', 150)],
  },
  'idle.cpu': {
    what: '… its processor time',
    unit: '% of a core',
    peer: null,
    bars: [most('value', 1)],
  },
} as const satisfies Record<string, Figure>;

export type FigureName = keyof typeof FIGURES;
