import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiCreatedResponse, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { Page } from '@impgem/client';
import { Caller, Requires } from '../access/index.js';
import { ApiPage } from '../platform/index.js';
import { idOf } from './conditions.js';
import { Requests } from './requests.js';
import { BuildRequest, BuildRequests } from './responses.js';
import { BatchWish, BuildWish, CancelWish, RequestsQuery } from './wishes.js';

@ApiTags('build requests')
@Controller('api/v1/build-requests')
export class RequestsController {
  constructor(private readonly requests: Requests) {}

  @Post()
  @Requires('trigger')
  @ApiOperation({ summary: 'Ask for a build' })
  @ApiCreatedResponse({ type: BuildRequest })
  submit(@Body() wish: BuildWish, @Caller() caller: Caller): Promise<BuildRequest> {
    return this.requests.submit(wish, caller.actor);
  }

  @Post('batch')
  @Requires('trigger')
  @ApiOperation({
    summary: 'Ask for many builds at once: for all of them or, with a problem in one, for none',
    description: 'Each problem names the request that has it, as in `requests[3].properties.name`.',
  })
  @ApiCreatedResponse({ type: BuildRequests })
  async submitAll(
    @Body() { requests }: BatchWish,
    @Caller() caller: Caller,
  ): Promise<BuildRequests> {
    return { requests: await this.requests.submitAll(requests, caller.actor) };
  }

  @Get()
  @Requires('read')
  @ApiOperation({ summary: 'Build requests, newest first' })
  @ApiPage(BuildRequest)
  list(@Query() query: RequestsQuery): Promise<Page<BuildRequest>> {
    return this.requests.list(query);
  }

  @Get(':id')
  @Requires('read')
  @ApiOperation({ summary: 'One build request with its attempts' })
  @ApiOkResponse({ type: BuildRequest })
  get(@Param('id') id: string): Promise<BuildRequest> {
    return this.requests.get(idOf(id, 'build request'));
  }

  @Post(':id/cancel')
  @HttpCode(200)
  @Requires('trigger')
  @ApiOperation({ summary: 'End a request, and the build that it is claimed by' })
  @ApiOkResponse({ type: BuildRequest })
  cancel(
    @Param('id') id: string,
    @Body() wish: CancelWish,
    @Caller() caller: Caller,
  ): Promise<BuildRequest> {
    return this.requests.cancel(idOf(id, 'build request'), wish?.reason, caller.actor);
  }
}
