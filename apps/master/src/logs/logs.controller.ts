import { Readable } from 'node:stream';
import { Controller, Get, Headers, Param, ParseIntPipe, Query, Req, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiPropertyOptional, ApiTags } from '@nestjs/swagger';
import { FarmError } from '@impgem/kit';
import { STREAMS, type StreamName } from '@impgem/protocol';
import { IsIn, IsOptional } from 'class-validator';
import type { FastifyReply, FastifyRequest } from 'fastify';
import parseRange from 'range-parser';
import { Requires } from '../access/index.js';
import { acceptsGzip } from './gzip-stream.js';
import type { LogRef } from './log-rows.js';
import { Logs, type LogState } from './logs.js';
import { gzippedLog, plainLog } from './serve-log.js';

class LogQuery {
  @ApiPropertyOptional({ enum: STREAMS, description: 'Only what came on this stream' })
  @IsOptional()
  @IsIn(STREAMS)
  stream?: StreamName;
}

/** The answer's head and body, decided from what was asked and how much is there. */
interface Answer {
  status: 200 | 206;
  headers: Record<string, string>;
  body: AsyncIterable<Uint8Array>;
}

@ApiTags('builds')
@Controller('api/v1/builds/:id/steps/:index/log')
export class LogsController {
  constructor(private readonly logs: Logs) {}

  @Get()
  @Requires('read')
  @ApiOperation({
    summary: 'The log of a step, as far as it has come',
    description:
      'X-Log-Complete says whether more may come. Range counts bytes of the log; with `stream` there are no ranges.',
  })
  @ApiOkResponse({
    description: 'The output, gzipped when that is accepted; 206 for a Range',
    content: { 'text/plain': { schema: { type: 'string' } } },
  })
  async read(
    @Param('id', ParseIntPipe) build: number,
    @Param('index', ParseIntPipe) step: number,
    @Query() { stream }: LogQuery,
    @Headers() headers: Record<string, string | undefined>,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    if (build < 1 || !Number.isSafeInteger(build) || step < 0 || step > 65_535)
      throw new FarmError('not-found', 'there is no such step');
    const log = { build, step };
    const state = await this.logs.state(log);
    const answer = this.#answer(log, state, stream, headers);
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
        ...answer.headers,
      })
      // For HEAD a stream with nothing in it: the framework would read all of it to throw it away.
      .send(Readable.from(request.method === 'HEAD' ? [] : answer.body, { objectMode: false }));
  }

  #answer(
    log: LogRef,
    { bytes }: LogState,
    stream: StreamName | undefined,
    headers: Record<string, string | undefined>,
  ): Answer {
    if (stream !== undefined) {
      const body = plainLog(this.logs, log, { from: 0, to: bytes, stream });
      return { status: 200, headers: {}, body };
    }
    const range = wanted(headers.range, bytes);
    if (range)
      return {
        status: 206,
        headers: {
          'content-range': `bytes ${range.from}-${range.to - 1}/${bytes}`,
          'content-length': String(range.to - range.from),
        },
        body: plainLog(this.logs, log, range),
      };
    const ranges = { 'accept-ranges': 'bytes' };
    if (acceptsGzip(headers['accept-encoding']))
      return {
        status: 200,
        headers: { ...ranges, 'content-encoding': 'gzip' },
        body: gzippedLog(this.logs, log, bytes),
      };
    return {
      status: 200,
      headers: { ...ranges, 'content-length': String(bytes) },
      body: plainLog(this.logs, log, { from: 0, to: bytes }),
    };
  }
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
