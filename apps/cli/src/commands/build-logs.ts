import { everyMatch, type Step, type StreamName } from '@impgem/client';
import { deferred } from '@impgem/kit';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { connect, findBuild, type Cli, type Connection } from '../cli.js';
import { Interrupted, UsageError } from '../exit-codes.js';
import { harmless, type Terminal } from '../terminal.js';
import { Lines } from '../watch/view.js';

export function addLogs(program: Command, { terminal, signal }: Cli): void {
  const command = program
    .command('logs')
    .description('print the log of a step, or of all steps: whole, in part, or what is found in it')
    .argument('<build>', 'its id, or BUILDER#NUMBER')
    .argument('[step]', 'name or index; all when left out');
  for (const option of OPTIONS) command.addOption(option);
  command.action(
    async (name: string, which: string | undefined, options: Options, command: Command) => {
      if ((options.regex || options.ignoreCase) && options.search === undefined)
        throw new UsageError('--regex and --ignore-case say how to --search');
      const connection = connect(command);
      const { client } = connection;
      const id = await findBuild(client, name);
      const { steps } = await client.builds.get(id);
      const wanted = steps.filter(
        ({ index, name }) => which === undefined || name === which || String(index) === which,
      );
      if (wanted.length === 0)
        throw new UsageError(
          `the build has no step ${which}; it has ${steps.map((s) => s.name).join(', ')}`,
        );
      const show = options.search !== undefined ? search : options.follow ? follow : print;
      for (const step of wanted) {
        if (wanted.length > 1) terminal.say(terminal.talk.bold(`▶ ${harmless(step.name)}`));
        await show({ connection, terminal, signal, build: id, step, options });
      }
    },
  );
}

const OPTIONS = [
  new Option('--stream <name>', 'one stream only').choices(['stdout', 'stderr', 'system']),
  new Option('--lines <range>', 'some lines, counted from 1: 12-40, 12- to the end, 12').conflicts([
    'tail',
    'stream',
  ]),
  new Option('--tail <n>', 'the last so many lines').argParser(count).conflicts(['stream']),
  new Option('--timestamps', 'begin each line with its time'),
  new Option('--follow', 'go on as the log grows, to its end').conflicts(['lines']),
  new Option('--search <text>', 'the lines in which a text occurs, with their numbers').conflicts([
    'lines',
    'tail',
    'follow',
  ]),
  new Option('--regex', 'what to search for is a regular expression'),
  new Option('--ignore-case', 'capital letters count like small ones'),
];

interface Options {
  stream?: StreamName;
  lines?: string;
  tail?: number;
  timestamps?: boolean;
  follow?: boolean;
  search?: string;
  regex?: boolean;
  ignoreCase?: boolean;
}

interface Task {
  connection: Connection;
  terminal: Terminal;
  signal: AbortSignal;
  build: number;
  step: Step;
  options: Options;
}

function count(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('it is a number of lines.');
  return Number(text);
}

/** What there is now, byte by byte. */
async function print({ connection, terminal, build, step, options }: Task): Promise<void> {
  const { stream, lines, tail, timestamps } = options;
  const { body } = await connection.client.builds.log(build, step.index, {
    ...(stream ? { stream } : {}),
    ...(lines === undefined ? {} : { lines }),
    ...(tail === undefined ? {} : { tail }),
    ...(timestamps ? { timestamps } : {}),
  });
  const decoder = new TextDecoder();
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>)
    await write(terminal.tty ? harmless(decoder.decode(chunk, { stream: true })) : chunk);
}

async function search({ connection, terminal, build, step, options }: Task): Promise<void> {
  const { search: q = '', regex, ignoreCase, stream, timestamps } = options;
  const { json, client } = connection;
  const { colour, print: say, tty } = terminal;
  const shown = (text: string) => (tty ? harmless(text) : text);
  const query = {
    q,
    ...(regex ? { regex } : {}),
    ...(ignoreCase ? { ignoreCase } : {}),
    ...(stream ? { stream } : {}),
  };
  const matches = everyMatch((after) =>
    client.builds.searchLog(build, step.index, { ...query, ...(after ? { after } : {}) }),
  );
  for await (const match of matches) {
    const { line, at, text, start, end } = match;
    if (json) say(JSON.stringify({ step: step.index, ...match }));
    else {
      const found = colour.red(shown(text.slice(start, end)));
      const time = timestamps ? `${colour.dim(at)} ` : '';
      const around = [shown(text.slice(0, start)), found, shown(text.slice(end))];
      say(`${colour.green(String(line))}:${time}${around.join('')}`);
    }
    await terminal.full();
  }
}

/** From the beginning or from its last lines on, until the log is complete. */
async function follow(task: Task): Promise<void> {
  const { connection, terminal, signal, build, step, options } = task;
  const offset = await begin(task);
  const over = deferred();
  const stop = () => over.reject(new Interrupted('interrupted'));
  signal.addEventListener('abort', stop);
  if (signal.aborted) stop();
  const shown = (text: string) => (terminal.tty ? harmless(text) : text);
  const lines = new Lines((_, at, text) => terminal.print(`${at} ${shown(text)}`));
  const live = connection.live({ onRefused: over.reject });
  live.log(
    { build, step: step.index, offset },
    {
      piece: (piece) => {
        if (options.stream !== undefined && piece.stream !== options.stream) return;
        if (options.timestamps) lines.add(piece);
        else terminal.out(shown(piece.text));
        const full = terminal.full();
        if (!full) return;
        live.pause();
        void full.then(() => live.resume());
      },
      end: () => over.resolve(),
      error: over.reject,
    },
  );
  try {
    await over.promise;
    lines.flush();
  } finally {
    signal.removeEventListener('abort', stop);
    live.close();
  }
}

/** The byte from which on a log is followed. */
async function begin({ connection, build, step, options }: Task): Promise<number> {
  if (options.tail === undefined) return 0;
  const { tail } = options;
  const { headers, body } = await connection.client.builds.log(build, step.index, { tail });
  // Only where it begins is asked for.
  await (body as ReadableStream | null)?.cancel();
  return Number(headers.get('x-log-offset'));
}

/** Bytes as they are; waits for a reader that is slower. */
function write(chunk: string | Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (process.stdout.write(chunk)) resolve();
    else process.stdout.once('drain', () => resolve());
  });
}
