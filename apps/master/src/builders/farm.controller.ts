import { Body, Controller, Get, HttpCode, Post, Put, Query } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { Page } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';
import { Caller, Requires } from '../access/index.js';
import { ApiPage, PageQuery, pageOf, Takes } from '../platform/index.js';
import { Builders } from './builders.js';
import { AppliedFarm, FarmFile, FarmSource, FarmVersion, LintResult } from './responses.js';

const FARM_TYPES = ['application/yaml', 'text/yaml', 'application/json'];

@ApiTags('farm')
@Controller('api/v1/farm')
export class FarmController {
  constructor(private readonly builders: Builders) {}

  @Put()
  @Requires('admin')
  @Takes('checks')
  @ApiOperation({ summary: 'Put a farm file in force; all of it or, with problems, nothing' })
  @ApiConsumes(...FARM_TYPES)
  @ApiBody({ type: FarmSource })
  @ApiOkResponse({ type: AppliedFarm })
  apply(@Body() body: unknown, @Caller() caller: Caller): Promise<AppliedFarm> {
    return this.builders.apply(sourceOf(body), caller.actor);
  }

  @Post('lint')
  @HttpCode(200)
  @Requires('read')
  @Takes('checks')
  @ApiOperation({ summary: 'What is wrong with a farm file; changes nothing' })
  @ApiConsumes(...FARM_TYPES)
  @ApiBody({ type: FarmSource })
  @ApiOkResponse({ type: LintResult })
  async lint(@Body() body: unknown): Promise<LintResult> {
    return { problems: await this.builders.lint(sourceOf(body)) };
  }

  @Get()
  @Requires('read')
  @ApiOperation({ summary: 'The farm file in force' })
  @ApiOkResponse({ type: FarmFile })
  current(): Promise<FarmFile> {
    return this.builders.current();
  }

  @Get('versions')
  @Requires('read')
  @ApiOperation({ summary: 'The versions of the farm file, newest first' })
  @ApiPage(FarmVersion)
  async versions(@Query() { after, limit }: PageQuery): Promise<Page<FarmVersion>> {
    const before = after === undefined ? null : cursor(after);
    const rows = await this.builders.versions(before, limit + 1);
    return pageOf(rows, limit, (row) => String(row.version));
  }
}

/** YAML comes as text, JSON as `{ source }`. */
function sourceOf(body: unknown): string {
  if (typeof body === 'string') return body;
  const given = plainToInstance(FarmSource, typeof body === 'object' && body ? body : {});
  const [problem] = validateSync(given, { whitelist: true, forbidNonWhitelisted: true });
  if (problem)
    throw new FarmError(
      'invalid-request',
      'send the farm file as application/yaml, or as JSON {"source": "…"}',
      {
        problems: [
          { path: problem.property, message: Object.values(problem.constraints ?? {})[0] },
        ],
      },
    );
  return given.source;
}

function cursor(after: string): number {
  if (!/^\d{1,9}$/.test(after))
    throw new FarmError('invalid-request', '`after` is what `next` of the page before says');
  return Number(after);
}
