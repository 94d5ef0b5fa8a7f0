import {
  Injectable,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { FarmError } from '@impgem/kit';
import {
  logger,
  markAdmitted,
  MasterConfig,
  type PlaceKind,
  type RouteRules,
} from '../platform/index.js';
import { Access } from './access.js';
import type { Caller } from './caller.js';
import { FairQueue } from './fair-queue.js';
import { Places } from './places.js';
import { bearer } from './secrets.js';
import { TokenThrottle } from './token-throttle.js';

const log = logger('access');

const READS = new Set(['GET', 'HEAD', 'OPTIONS']);
/** How often it is looked whether the time of a caller has come whose answer is still under way. */
const EXPIRY_EVERY_MS = 10_000;

/** A body up to here is nothing to count; what does not say how long it is may be long. */
const SMALL_BODY_BYTES = 64 * 1024;

interface Request extends FastifyRequest {
  caller?: Caller;
  /** Ends its turn among those that read. */
  endTurn?: () => void;
}
interface UnderWay {
  caller: Caller;
  reply: FastifyReply;
}

/**
 * In front of every route, before anything of a body is read: who it is, whether that caller may, and whether there is a
 * place. Those that read, and are answered at once, take turns by caller. What is under way ends when the caller's token is
 * revoked or has expired.
 */
@Injectable()
export class Door implements OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown {
  readonly #underWay = new Set<UnderWay>();
  #unwatch: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #reads: FairQueue;

  constructor(
    private readonly host: HttpAdapterHost,
    private readonly access: Access,
    private readonly places: Places,
    private readonly throttle: TokenThrottle,
    { limits }: MasterConfig,
  ) {
    this.#reads = new FairQueue(limits.readsAtOnce, limits.readsAtOncePerCaller);
  }

  onModuleInit(): void {
    const http = this.host.httpAdapter.getInstance<FastifyInstance>();
    http.addHook('onRequest', (request, reply) => this.#enter(request, reply));
    http.addHook('preHandler', (request, reply) => this.#takeTurn(request, reply));
    http.addHook('onSend', async (request: Request) => request.endTurn?.());
  }

  onApplicationBootstrap(): void {
    this.#unwatch = this.access.onRevoked(() => this.#recheck([...this.#underWay]));
    this.#timer = setInterval(() => {
      const now = Date.now();
      this.#recheck([...this.#underWay].filter(({ caller }) => isOver(caller, now)));
    }, EXPIRY_EVERY_MS);
    this.#timer.unref();
  }

  onApplicationShutdown(): void {
    this.#unwatch?.();
    clearInterval(this.#timer);
  }

  async #enter(request: Request, reply: FastifyReply): Promise<void> {
    const { access: needs, takes } = request.routeOptions.config as RouteRules;
    if (request.is404)
      throw new FarmError('not-found', 'there is no such address, or not for this method');
    if (needs === undefined || needs === 'public') return;
    const { changes } = this.access;
    const caller = await this.throttle.knock(
      request.ip,
      bearer(request.headers.authorization),
      () => this.access.authenticate(request),
    );
    if (!READS.has(request.method)) this.access.checkCsrf(caller, request);
    if (!caller.scopes.includes(needs))
      throw new FarmError(
        'forbidden',
        `this needs the scope ${needs}; ${caller.actor} has ${caller.scopes.join(', ')}`,
      );
    markAdmitted(request.raw);
    const kinds: PlaceKind[] = ['requests'];
    if (takes !== undefined) kinds.push(takes);
    if (isLarge(request)) kinds.push('bodies');
    this.#take(kinds, caller, reply);
    request.caller = caller;
    const entry = { caller, reply };
    this.#underWay.add(entry);
    reply.raw.once('close', () => this.#underWay.delete(entry));
    // Something was revoked meanwhile; `onRevoked` has passed this one over.
    if (changes !== this.access.changes) this.#recheck([entry]);
  }

  /** Until the answer is there. What takes a place of its own may last long, and is bounded by that. */
  async #takeTurn(request: Request, { raw }: FastifyReply): Promise<void> {
    const { caller } = request;
    const { takes } = request.routeOptions.config as RouteRules;
    if (!caller || takes !== undefined || !READS.has(request.method)) return;
    const gone = new AbortController();
    const leave = () => gone.abort(callerIsGone());
    if (raw.destroyed) leave();
    raw.once('close', leave);
    request.endTurn = await this.#reads.take(caller.tokenId, gone.signal);
    raw.off('close', leave);
    // It may have hung up while its turn came.
    if (raw.destroyed) request.endTurn();
    raw.once('close', request.endTurn);
  }

  #take(kinds: readonly PlaceKind[], { tokenId }: Caller, reply: FastifyReply): void {
    // Who has hung up by now needs no place, and would not give it back.
    if (reply.raw.destroyed) throw callerIsGone();
    for (const kind of kinds) reply.raw.once('close', this.places.take(kind, tokenId));
  }

  /** Cuts those off whose caller would not be let in any more. */
  #recheck(entries: readonly UnderWay[]): void {
    const asked = new Map<string, Promise<boolean>>();
    for (const { caller, reply } of entries) {
      const key = `${caller.tokenId} ${caller.session?.idHash.toString('hex') ?? ''}`;
      const current = asked.get(key) ?? this.access.isCurrent(caller);
      asked.set(key, current);
      cutUnless(current, reply).catch((err: unknown) => {
        // The database is away: it is asked again when that is back.
        log.debug({ err }, 'cannot tell whether an answer may go on');
      });
    }
  }
}

const callerIsGone = () => new FarmError('invalid-request', 'the caller is gone');

function isLarge({ headers }: FastifyRequest): boolean {
  const { 'content-length': length = '0', 'transfer-encoding': coding } = headers;
  return coding !== undefined || Number(length) > SMALL_BODY_BYTES;
}

/** Half an answer may be out: a cut is the only way to say that the rest is missing. */
async function cutUnless(current: Promise<boolean>, { raw }: FastifyReply): Promise<void> {
  if (!(await current) && !raw.writableEnded) raw.destroy();
}

function isOver({ expiresAt }: Caller, now: number): boolean {
  return expiresAt !== undefined && expiresAt.getTime() <= now;
}
