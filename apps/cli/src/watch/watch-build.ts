import type { Build, BuildDetail, Client, Live, Result, Step } from '@impgem/client';
import { deferred } from '@impgem/kit';
import { Changes } from './changes.js';
import type { View } from './view.js';

export interface Watching {
  client: Client;
  live: Live;
  view: View;
  signal: AbortSignal;
}

/** How long after the end of its build a log may still come in, in milliseconds. */
const LATE_MS = 3000;
/** A request that is taken at once is not called waiting, in milliseconds. */
const SOON_MS = 700;

const MAY_BE_RETRIED = new Set<Result>(['retry', 'exception', 'failure']);

/** Follows a request through all its attempts; answers its result. */
export async function watchRequest(watching: Watching, id: number): Promise<Result> {
  const { client, live, view, signal } = watching;
  const concerns = (event: { request?: number }) =>
    event.request === undefined || event.request === id;
  const changes = new Changes(live, concerns, signal, view.note);
  const asked = Date.now();
  let told = false;
  try {
    for (let attempt = 0; ; attempt++) {
      const next = await changes.until(async () => {
        const request = await client.requests.get(id);
        const build = request.builds[attempt];
        if (build) return { build };
        if (request.state === 'finished') return { result: request.result ?? 'exception' };
        if (!told && Date.now() - asked > SOON_MS) {
          view.queued(request);
          told = true;
        }
        return undefined;
      });
      if (!next.build) return next.result;
      await watchAttempt(watching, changes, next.build.id);
    }
  } finally {
    changes.close();
  }
}

/** Follows one attempt, which may be over already; answers its result. */
export async function watchBuild(watching: Watching, id: number): Promise<Result> {
  const { live, view, signal } = watching;
  const changes = new Changes(live, () => true, signal, view.note, { build: id });
  try {
    return (await watchAttempt(watching, changes, id)).result ?? 'exception';
  } finally {
    changes.close();
  }
}

async function watchAttempt(
  { client, live, view }: Watching,
  changes: Changes,
  id: number,
): Promise<BuildDetail> {
  let build = await changes.until(() => client.builds.get(id));
  view.build(build);
  for (let index = 0; index < build.steps.length; index++) {
    build = await changes.until(async () => {
      const now = await client.builds.get(id);
      return begun(now, index) || now.state === 'finished' ? now : undefined;
    });
    const step = build.steps[index];
    if (!step) break;
    if (begun(build, index)) {
      if (step.startedAt !== null) {
        view.step(build, step);
        await followLog({ client, live, view }, changes, build, step);
      }
      build = await changes.until(async () => {
        const now = await client.builds.get(id);
        return now.steps[index]?.state === 'finished' || now.state === 'finished' ? now : undefined;
      });
    }
    const now = build.steps[index] ?? step;
    if (begun(build, index)) view.stepEnd(build, ended(now));
  }
  build = await changes.until(async () => {
    const now = await client.builds.get(id);
    return now.state === 'finished' ? now : undefined;
  });
  const mayBeRetried = MAY_BE_RETRIED.has(build.result ?? 'exception');
  view.buildEnd(build, mayBeRetried && (await willRetry(client, changes, build)));
  return build;
}

const begun = (build: BuildDetail, index: number) => build.steps[index]?.state !== 'pending';

/** A step whose worker went away has no end of its own. */
const ended = (step: Step): Step =>
  step.state === 'finished' ? step : { ...step, result: step.result ?? 'retry' };

async function willRetry(client: Client, changes: Changes, build: Build): Promise<boolean> {
  const request = await changes.until(() => client.requests.get(build.request));
  return request.state !== 'finished' || (request.builds.at(-1)?.id ?? 0) > build.id;
}

/**
 * Shows a log until it is complete, or its build is over and nothing more came for a while: then what is missing
 * is fetched, since the live socket may be cut, or a proxy may not let it through.
 */
async function followLog(
  { client, live, view }: Omit<Watching, 'signal'>,
  changes: Changes,
  build: BuildDetail,
  step: Step,
): Promise<void> {
  const over = deferred();
  let heard = Date.now();
  let next = 0;
  let ended = false;
  let held = false;
  // Whoever reads our output more slowly than the build writes makes the master wait, not our memory grow.
  const hold = async (drained: Promise<void>) => {
    held = true;
    live.pause();
    await drained;
    held = false;
    heard = Date.now();
    live.resume();
  };
  const end = () => {
    ended = true;
    over.resolve();
  };
  const subscription = live.log(
    { build: build.id, step: step.index },
    {
      piece: (piece) => {
        heard = Date.now();
        next = piece.offset + piece.length;
        view.piece(build, step, piece);
        const drained = held ? undefined : view.full();
        if (drained) void hold(drained);
      },
      end,
      error: (error) => {
        view.note(`the log cannot be shown: ${error.message}`);
        end();
      },
    },
  );
  const silent = changes.until(async () => {
    if (ended) return true;
    const now = await client.builds.get(build.id);
    const quiet = !held && Date.now() - heard > LATE_MS;
    return now.state === 'finished' && quiet ? true : undefined;
  });
  try {
    await Promise.race([over.promise, silent]);
  } finally {
    subscription.close();
    // It ends by itself at its next look.
    silent.catch(() => {});
  }
  if (!ended) await fetchRest({ client, view }, build, step, next);
}

async function fetchRest(
  { client, view }: Pick<Watching, 'client' | 'view'>,
  build: BuildDetail,
  step: Step,
  from: number,
): Promise<void> {
  const { log } = (await client.builds.get(build.id)).steps[step.index] ?? step;
  if (log.bytes <= from) return;
  const { body } = await client.builds.log(build.id, step.index, { offset: from });
  const decoder = new TextDecoder();
  const at = step.finishedAt ?? step.startedAt ?? build.createdAt;
  let offset = from;
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    const text = decoder.decode(chunk, { stream: true });
    const { length } = chunk;
    view.piece(build, step, { step: step.index, stream: 'stdout', offset, length, at, text });
    offset += length;
  }
}
