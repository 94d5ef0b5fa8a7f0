import { Readable } from 'node:stream';
import { Controller, Get, Headers, Param, ParseIntPipe, Query, Req, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import { FarmError } from '@impgem/kit';
import { STREAMS } from '@impgem/protocol';
import type { FastifyReply, FastifyRequest } from 'fastify';
import parseRange from 'range-parser';
import { BulkWork, Caller, Requires } from '../access/index.js';
import { Takes } from '../platform/index.js';
import { acceptsGzip } from './gzip-stream.js';
import type { LineMatch } from './line-matcher.js';
import { type LineRange, linesOf, tailOf } from './line-range.js';
import { LogMatch, LogQuery, LogSearchResult, SearchLogQuery } from './log-queries.js';
import type { LogRef } from './log-rows.js';
import { Logs, type LogState } from './logs.js';
import { LogSearch } from './search.js';
import { gzippedLog, type LogPart, plainLog, timedLog } from './serve-log.js';

/** The answer's head and body, decided from what was asked and how much is there. */
interface Answer {
  status: 200 | 206;
  headers: Record<string, string>;
  body: AsyncIterable<Uint8Array>;
}
type RequestHeaders = Record<string, string | undefined>;

@ApiTags('builds')
@Controller('api/v1/builds/:id/steps/:index/log')
export class LogsController {
  constructor(
    private readonly logs: Logs,
    private readonly searches: LogSearch,
    private readonly bulk: BulkWork,
  ) {}

  @Get()
  @Takes('downloads')
  @Requires('read')
  @ApiOperation({
    summary: 'The log of a step, as far as it has come',
    description: [
      'X-Log-Complete says whether more may come, X-Log-Bytes how much there is, X-Log-SHA256 what each stream adds up',
      'to when it has ended. Range counts bytes of the log and goes with nothing else. With `lines` or `tail`, X-Log-Lines',
      'says which lines of how many these are (`12-40/977`) and X-Log-Offset at which byte they begin.',
    ].join('\n'),
  })
  @ApiOkResponse({
    description: 'The output, gzipped when that is accepted; 206 for a Range',
    content: { 'text/plain': { schema: { type: 'string' } } },
  })
  async read(
    @Param('id', ParseIntPipe) build: number,
    @Param('index', ParseIntPipe) step: number,
    @Query() query: LogQuery,
    @Headers() headers: RequestHeaders,
    @Caller() caller: Caller,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const log = refOf(build, step);
    const state = await this.logs.state(log);
    const answer = await this.#answer(log, state, query, headers);
    // For HEAD a stream with nothing in it: the framework would read all of it to throw it away.
    const body = request.method === 'HEAD' ? [] : this.bulk.paced(answer.body, caller.tokenId);
    await reply
      .status(answer.status)
      .headers({
        'content-type': 'text/plain; charset=utf-8',
        // Output is anyone's text: no browser shall see a page in it.
        'content-security-policy': "sandbox; default-src 'none'",
        'x-content-type-options': 'nosniff',
        'cache-control': 'private, no-cache',
        vary: 'accept-encoding',
        'x-log-complete': String(state.complete),
        'x-log-bytes': String(state.bytes),
        ...sumsOf(state),
        ...answer.headers,
      })
      .send(Readable.from(body, { objectMode: false }));
  }

  @Get('search')
  @Takes('searches')
  @Requires('read')
  @ApiOperation({
    summary: 'The lines of a log in which a text or an expression occurs',
    description: [
      'Answers after two seconds at the latest with what it has found; `next` says where to go on. A line beyond 64 KiB',
      'is searched in parts.',
    ].join('\n'),
  })
  @ApiOkResponse({ type: LogSearchResult })
  async search(
    @Param('id', ParseIntPipe) build: number,
    @Param('index', ParseIntPipe) step: number,
    @Query() { q, regex, ignoreCase, stream, after, limit }: SearchLogQuery,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<LogSearchResult> {
    const log = refOf(build, step);
    const { bytes, complete } = await this.logs.state(log);
    const from = Number(after ?? 0);
    if (from > bytes)
      throw new FarmError('range-not-satisfiable', `the log has ${bytes} bytes, not ${from}`);
    const left = new AbortController();
    reply.raw.once('close', () => left.abort());
    const { matches, next } = await this.searches.search(log, {
      text: q,
      regex: regex === 'true',
      ignoreCase: ignoreCase === 'true',
      stream,
      from,
      to: bytes,
      limit,
      signal: left.signal,
    });
    return {
      matches: matches.map(toMatch),
      next: next === undefined ? null : String(next),
      searched: next ?? bytes,
      bytes,
      complete,
    };
  }

  async #answer(
    log: LogRef,
    state: LogState,
    query: LogQuery,
    headers: RequestHeaders,
  ): Promise<Answer> {
    const { stream } = query;
    const lines = await this.#lines(log, state, query);
    if (lines) {
      const { first, last, total, from, to } = lines;
      return this.#text(log, { from, to }, query, {
        'x-log-lines': `${first}-${last}/${total}`,
        'x-log-offset': String(from),
      });
    }
    const { bytes } = state;
    if (stream !== undefined || query.timestamps === 'true')
      return this.#text(log, { from: 0, to: bytes, stream }, query);
    const ranges = { 'accept-ranges': 'bytes' };
    const range = wanted(headers.range, bytes);
    if (range) {
      const { from, to } = range;
      const answer = this.#text(log, range, query, {
        'content-range': `bytes ${from}-${to - 1}/${bytes}`,
      });
      return { ...answer, status: 206 };
    }
    if (!acceptsGzip(headers['accept-encoding']))
      return this.#text(log, { from: 0, to: bytes }, query, ranges);
    return {
      status: 200,
      headers: { ...ranges, 'content-encoding': 'gzip' },
      body: gzippedLog(this.logs, log, bytes),
    };
  }

  async #lines(
    log: LogRef,
    state: LogState,
    { lines, tail, stream }: LogQuery,
  ): Promise<LineRange | undefined> {
    if (lines === undefined && tail === undefined) return undefined;
    if (lines !== undefined && tail !== undefined)
      throw new FarmError('invalid-request', 'lines and tail: ask for one of them');
    if (stream !== undefined)
      throw new FarmError(
        'invalid-request',
        'lines and tail count lines of all streams together: leave stream out',
      );
    if (lines !== undefined) return linesOf(this.logs, log, state, lines);
    return tailOf(this.logs, log, state, tail ?? 0);
  }

  /** Inflated; its length is known when nothing is added and nothing left out. */
  #text(
    log: LogRef,
    part: LogPart,
    { timestamps }: LogQuery,
    headers: Record<string, string> = {},
  ): Answer {
    if (timestamps === 'true')
      return { status: 200, headers, body: timedLog(this.logs, log, part) };
    const body = plainLog(this.logs, log, part);
    if (part.stream !== undefined) return { status: 200, headers, body };
    const length = String(part.to - part.from);
    return { status: 200, headers: { ...headers, 'content-length': length }, body };
  }
}

function refOf(build: number, step: number): LogRef {
  if (build < 1 || !Number.isSafeInteger(build) || step < 0 || step > 65_535)
    throw new FarmError('not-found', 'there is no such step');
  return { build, step };
}

/** `stdout=<hex>, stderr=<hex>`. */
function sumsOf({ sha256 }: LogState): Record<string, string> {
  const sums = Object.entries(sha256 ?? {}).map(([stream, sum]) => `${stream}=${sum}`);
  return sums.length > 0 ? { 'x-log-sha256': sums.join(', ') } : {};
}

function toMatch({ atMs, stream, ...match }: LineMatch): LogMatch {
  return { ...match, stream: STREAMS[stream] ?? 'stdout', at: new Date(atMs).toISOString() };
}

/** The one range that is asked for; none when the header says nothing that is served in part. */
function wanted(
  header: string | undefined,
  bytes: number,
): { from: number; to: number } | undefined {
  if (header === undefined) return undefined;
  const ranges = parseRange(bytes, header);
  // -1: outside. -2: not well formed, which is ignored (RFC 9110, 14.2), as are several at once.
  if (ranges === -1)
    throw new FarmError(
      'range-not-satisfiable',
      `the log has ${bytes} bytes: ask for a part of it`,
    );
  const range =
    ranges === -2 || ranges.type !== 'bytes' || ranges.length > 1 ? undefined : ranges[0];
  return range && { from: range.start, to: range.end + 1 };
}
