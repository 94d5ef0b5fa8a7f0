import { everyMatch, UnreachableError, type Step, type StreamName } from '@impgem/client';
import { deferred } from '@impgem/kit';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { connect, findBuild, type Cli, type Connection } from '../cli.js';
import { wholeNumber } from '../arguments.js';
import { Interrupted, UsageError } from '../exit-codes.js';
import { lastState, plain, settled } from '../harmless.js';
import { LogScreen } from '../log-screen.js';
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
  new Option('--lines <range>', 'some lines, counted from 1: 12-40, 12- to the end, 12')
    .argParser(range)
    .conflicts(['tail', 'stream']),
  new Option('--tail <n>', 'the last so many lines')
    .argParser(wholeNumber(0))
    .conflicts(['stream']),
  new Option('--timestamps', 'begin each line with its time'),
  new Option('--follow', 'go on as the log grows, to its end').conflicts(['lines']),
  new Option('--search <text>', 'the lines in which a text occurs, with their numbers').conflicts([
    'lines',
    'tail',
    'follow',
  ]),
  new Option('--regex', 'what to search for is a regular expression'),
  new Option('--ignore-case', 'capital letters count like small ones'),
  new Option(
    '--raw',
    'also on a terminal as the step wrote it; what it wrote may steer the terminal',
  ).conflicts(['search']),
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
  raw?: boolean;
}

interface Task {
  connection: Connection;
  terminal: Terminal;
  signal: AbortSignal;
  build: number;
  step: Step;
  options: Options;
}

function range(text: string): string {
  if (!/^\d{1,15}(-\d{0,15})?$/.test(text))
    throw new InvalidArgumentError('write 12-40, 12- or 12.');
  return text;
}

/** What there is now. */
async function print({ connection, terminal, build, step, options }: Task): Promise<void> {
  const { stream, lines, tail, timestamps } = options;
  const { body } = await connection.client.builds.log(build, step.index, {
    ...(stream ? { stream } : {}),
    ...(lines === undefined ? {} : { lines }),
    ...(tail === undefined ? {} : { tail }),
    ...(timestamps ? { timestamps } : {}),
  });
  const show = shownOn(terminal, options);
  try {
    for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
      show.bytes(chunk);
      await terminal.full();
    }
  } catch (error) {
    throw new UnreachableError(connection.target.url, { cause: error });
  } finally {
    show.end();
  }
}

/** How a log comes to stdout: as it is into a pipe, and when that was asked for; else as a terminal may have it. */
function shownOn(terminal: Terminal, { raw }: Options) {
  if (!terminal.tty || raw)
    return { bytes: terminal.raw, text: terminal.raw, end: () => undefined };
  const screen = new LogScreen(terminal);
  const decoder = new TextDecoder();
  return {
    bytes: (chunk: Uint8Array) => screen.write(decoder.decode(chunk, { stream: true })),
    text: (piece: string) => screen.write(piece),
    end: () => {
      screen.write(decoder.decode());
      screen.end();
    },
  };
}

async function search({ connection, terminal, build, step, options }: Task): Promise<void> {
  const { search: q = '', regex, ignoreCase, stream, timestamps } = options;
  const { json, client } = connection;
  const { colour, print: say, tty } = terminal;
  const letters = (text: string) => (tty ? plain(text) : text);
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
    if (json) terminal.json({ step: step.index, ...match });
    else {
      const found = colour.red(letters(text.slice(start, end)));
      const time = timestamps ? `${colour.dim(at)} ` : '';
      const around = [letters(text.slice(0, start)), found, letters(text.slice(end))];
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
  const isPlain = !terminal.tty || options.raw === true;
  const lines = new Lines(
    (_, at, text) =>
      isPlain ? terminal.raw(`${at} ${text}\n`) : terminal.print(`${at} ${shown(text)}`),
    isPlain ? undefined : settled,
  );
  const show = shownOn(terminal, options);
  const live = connection.live({ onRefused: over.reject });
  live.log(
    { build, step: step.index, offset },
    {
      piece: (piece) => {
        if (options.stream !== undefined && piece.stream !== options.stream) return;
        if (options.timestamps) lines.add(piece);
        else show.text(piece.text);
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
    show.end();
    signal.removeEventListener('abort', stop);
    live.close();
  }
}

/** A line in its last state; a colour that it leaves on ends with it. */
function shown(line: string): string {
  const text = harmless(lastState(line));
  return text.includes('\u001b') ? `${text}\u001b[0m` : text;
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
