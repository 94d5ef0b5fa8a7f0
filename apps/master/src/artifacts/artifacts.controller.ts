import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename } from 'node:path/posix';
import { Readable } from 'node:stream';
import { Controller, Get, Headers, Param, Query, Req, Res } from '@nestjs/common';
import { ApiOkResponse, ApiOperation, ApiParam, ApiProperty, ApiTags } from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { FarmError, mendedPath } from '@impgem/kit';
import contentDisposition from 'content-disposition';
import type { FastifyReply, FastifyRequest } from 'fastify';
import parseRange from 'range-parser';
import { BulkWork, Caller, Requires } from '../access/index.js';
import { ApiPage, PageQuery, pageOf, Takes } from '../platform/index.js';
import { archiveOf, type ArchiveFormat } from './archive.js';
import { Artifacts } from './artifacts.js';

export class Artifact implements api.Artifact {
  @ApiProperty({ description: 'Below the workspace' }) path!: string;
  @ApiProperty({ type: 'integer', description: 'Bytes' }) size!: number;
  @ApiProperty({ description: 'In hex' }) sha256!: string;
  @ApiProperty({ type: 'integer', description: 'Permission bits, at most 0o777' }) mode!: number;
  @ApiProperty({ format: 'date-time' }) createdAt!: string;
}

type RequestHeaders = Record<string, string | undefined>;

@ApiTags('builds')
@Controller('api/v1/builds/:id')
@Requires('read')
export class ArtifactsController {
  constructor(
    private readonly artifacts: Artifacts,
    private readonly bulk: BulkWork,
  ) {}

  @Get('artifacts')
  @ApiOperation({ summary: 'The artifacts of a build, in the order they came' })
  @ApiPage(Artifact)
  async list(
    @Param('id') id: string,
    @Query() { after, limit }: PageQuery,
  ): Promise<api.Page<Artifact>> {
    if (after !== undefined && !/^\d{1,9}$/.test(after))
      throw new FarmError('invalid-request', '`after` is what `next` of the page before says');
    const rows = await this.artifacts.list(buildId(id), Number(after ?? -1), limit + 1);
    const page = pageOf(rows, limit, ({ number }) => String(number));
    return { ...page, items: page.items.map(toView) };
  }

  @Get('artifacts.zip')
  @Takes('archives')
  @ApiOperation({ summary: 'All artifacts of a build, so far, as one zip file' })
  @ApiOkResponse({
    description: 'The files as they are, not compressed; zip64 where it must be',
    content: { 'application/zip': { schema: { type: 'string', format: 'binary' } } },
  })
  zip(
    @Param('id') id: string,
    @Caller() caller: Caller,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    return this.#archive('zip', id, caller, request, reply);
  }

  @Get('artifacts.tar')
  @Takes('archives')
  @ApiOperation({ summary: 'All artifacts of a build, so far, as one tar file' })
  @ApiOkResponse({
    description: 'With the permission bits of each file',
    content: { 'application/x-tar': { schema: { type: 'string', format: 'binary' } } },
  })
  tar(
    @Param('id') id: string,
    @Caller() caller: Caller,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    return this.#archive('tar', id, caller, request, reply);
  }

  async #archive(
    format: ArchiveFormat,
    id: string,
    caller: Caller,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    const pause = this.bulk.slices(caller.tokenId);
    const { name, files } = await this.artifacts.archived(buildId(id), pause);
    reply.headers({
      'content-type': format === 'zip' ? 'application/zip' : 'application/x-tar',
      'content-disposition': contentDisposition(`${name}.${format}`, { type: 'attachment' }),
      'x-content-type-options': 'nosniff',
      'cache-control': 'private, no-cache',
    });
    if (request.method === 'HEAD') {
      await reply.send(Readable.from([]));
      return;
    }
    const { stream, length } = await archiveOf(format, files, pause);
    if (length !== undefined) reply.header('content-length', String(length));
    await reply.send(stream);
  }

  @Get('artifacts/*')
  @Takes('downloads')
  @ApiOperation({
    summary: 'The content of an artifact',
    description: 'The rest of the address is its path.',
  })
  @ApiParam({ name: '*', description: 'The path of the artifact' })
  @ApiOkResponse({
    description: 'The bytes of the file; 206 for a Range',
    content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
  })
  async download(
    @Param('id') id: string,
    @Param('*') path: string,
    @Headers() headers: RequestHeaders,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const artifact = await this.artifacts.find(buildId(id), path);
    const etag = `"${artifact.sha256}"`;
    reply.headers({
      etag,
      'accept-ranges': 'bytes',
      'content-type': 'application/octet-stream',
      'content-disposition': contentDisposition(basename(mendedPath(artifact.path)), {
        type: 'attachment',
      }),
      // It is anyone's file: no browser shall see a page in it.
      'x-content-type-options': 'nosniff',
      'content-security-policy': "sandbox; default-src 'none'",
      'cache-control': 'private, no-cache',
    });
    if (matches(headers['if-none-match'], etag)) {
      await reply.status(304).send();
      return;
    }
    const { content } = artifact;
    if (typeof content === 'string')
      await stat(content).catch((cause: unknown) => {
        throw new FarmError(
          'not-found',
          'the content of this artifact is not in the store any more',
          {},
          { cause },
        );
      });
    const range = wanted(headers, artifact.size, etag);
    if (range) {
      const { start, end } = range;
      reply.status(206).header('content-range', `bytes ${start}-${end}/${artifact.size}`);
    }
    const length = range ? range.end - range.start + 1 : artifact.size;
    reply.header('content-length', String(length));
    // For HEAD a stream with nothing in it: the framework would read all of it to throw it away.
    if (request.method === 'HEAD') await reply.send(Readable.from([]));
    else if (typeof content === 'string') await reply.send(createReadStream(content, range));
    else await reply.send(range ? content.subarray(range.start, range.end + 1) : content);
  }
}

/** The one range that is asked for, inclusive; none when all of it is to be sent (RFC 9110, 14.2). */
function wanted(
  headers: RequestHeaders,
  size: number,
  etag: string,
): { start: number; end: number } | undefined {
  const condition = headers['if-range'];
  if (headers.range === undefined || (condition !== undefined && condition !== etag))
    return undefined;
  const ranges = parseRange(size, headers.range);
  if (ranges === -1)
    throw new FarmError(
      'range-not-satisfiable',
      `the artifact has ${size} bytes: ask for a part of it`,
    );
  if (ranges === -2 || ranges.type !== 'bytes' || ranges.length > 1) return undefined;
  return ranges[0];
}

function matches(header: string | undefined, etag: string): boolean {
  const tags = (header ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return tags.includes('*') || tags.includes(etag);
}

function buildId(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw new FarmError('not-found', 'there is no such build');
  return Number(text);
}

function toView({ path, size, sha256, mode, createdAt }: api.Artifact): Artifact {
  return { path, size, sha256, mode, createdAt };
}
