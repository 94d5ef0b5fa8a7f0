import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { ApiExtraModels, ApiOkResponse, ApiOperation, ApiTags } from '@nestjs/swagger';
import type { Page } from '@impgem/client';
import { Caller, Requires } from '../access/index.js';
import { ApiPage, PageQuery } from '../platform/index.js';
import { BuilderList } from './builder-list.js';
import { Builds } from './builds.js';
import { idOf } from './conditions.js';
import { Build, BuildDetail, Builder, PropertyDefinition } from './responses.js';
import { BuildsQuery, CancelWish } from './wishes.js';

@ApiTags('builds')
@Controller('api/v1/builds')
export class BuildsController {
  constructor(private readonly builds: Builds) {}

  @Get()
  @Requires('read')
  @ApiOperation({ summary: 'Builds, newest first' })
  @ApiPage(Build)
  list(@Query() query: BuildsQuery): Promise<Page<Build>> {
    return this.builds.list(query);
  }

  @Get(':id')
  @Requires('read')
  @ApiOperation({ summary: 'One build with its steps, artifacts and the plan it ran with' })
  @ApiOkResponse({ type: BuildDetail })
  get(@Param('id') id: string): Promise<BuildDetail> {
    return this.builds.get(idOf(id, 'build'));
  }

  @Post(':id/cancel')
  @HttpCode(200)
  @Requires('trigger')
  @ApiOperation({ summary: 'Ask for the end of a build' })
  @ApiOkResponse({ type: BuildDetail })
  cancel(
    @Param('id') id: string,
    @Body() wish: CancelWish,
    @Caller() caller: Caller,
  ): Promise<BuildDetail> {
    return this.builds.cancel(idOf(id, 'build'), wish?.reason, caller.actor);
  }
}

@ApiTags('builders')
@ApiExtraModels(PropertyDefinition)
@Controller('api/v1/builders')
@Requires('read')
export class BuildersController {
  constructor(
    private readonly builders: BuilderList,
    private readonly builds: Builds,
  ) {}

  @Get()
  @ApiOperation({ summary: 'The builders in force, in the order of the farm file' })
  @ApiPage(Builder)
  list(@Query() query: PageQuery): Promise<Page<Builder>> {
    return this.builders.list(query);
  }

  @Get(':name')
  @ApiOperation({ summary: 'One builder' })
  @ApiOkResponse({ type: Builder })
  get(@Param('name') name: string): Promise<Builder> {
    return this.builders.get(name);
  }

  @Get(':name/builds/:number')
  @ApiOperation({ summary: 'A build by its number' })
  @ApiOkResponse({ type: BuildDetail })
  build(@Param('name') name: string, @Param('number') number: string): Promise<BuildDetail> {
    return this.builds.byNumber(name, idOf(number, `build of ${name} with the number`));
  }
}
