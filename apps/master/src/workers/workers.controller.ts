import {
  Body,
  Controller,
  Delete,
  Get,
  Headers,
  HttpCode,
  Ip,
  Param,
  Post,
  Query,
} from '@nestjs/common';
import {
  ApiBearerAuth,
  ApiCreatedResponse,
  ApiNoContentResponse,
  ApiOkResponse,
  ApiOperation,
  ApiProperty,
  ApiPropertyOptional,
  ApiTags,
} from '@nestjs/swagger';
import {
  ArrayMaxSize,
  ArrayNotEmpty,
  ArrayUnique,
  IsArray,
  IsInt,
  IsOptional,
  IsString,
  Matches,
  Max,
  Min,
} from 'class-validator';
import type {
  NewRegistrationToken,
  Page,
  Quarantine,
  RegistrationToken,
  Worker,
  WorkerCredential,
} from '@impgem/client';
import { bearer, Caller, TokenThrottle } from '../access/index.js';
import { ApiPage, PageQuery, Public, Requires } from '../platform/index.js';
import { Registration } from './registration.js';
import { Workers } from './workers.js';

const LABEL = /^[A-Za-z0-9][A-Za-z0-9._/=-]{0,99}$/;
const LABEL_RULE = {
  each: true,
  message:
    'a label has 1 to 100 letters, digits and . _ / = -, and begins with a letter or a digit',
};
/** Room for as many labels as are allowed. */
const REGISTRATION_BYTES = 8 * 1024;
const STATES = [
  'online',
  'quarantined',
  'suspect',
  'lost',
  'offline',
  'draining',
  'low-disk',
  'revoked',
] as const;

export class RegistrationTokenWish {
  @ApiPropertyOptional({ type: 'integer', default: 1, minimum: 1, maximum: 10_000 })
  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(10_000)
  uses: number = 1;

  @ApiPropertyOptional({ type: 'integer', default: 86_400, description: 'seconds' })
  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(365 * 86_400)
  expiresIn: number = 86_400;

  @ApiPropertyOptional({
    type: [String],
    description: 'labels that its workers may claim; any when left out',
  })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(64)
  @ArrayUnique()
  @IsString({ each: true })
  @Matches(LABEL, LABEL_RULE)
  labels?: string[];

  @ApiPropertyOptional({
    type: [String],
    description:
      'names that its workers may take: exact ones, or beginnings with a `*` at the end; when left out, any that no builder names under `workers:`',
    example: ['release-1', 'ci-*'],
  })
  @IsOptional()
  @IsArray()
  @ArrayNotEmpty()
  @ArrayMaxSize(64)
  @ArrayUnique()
  @IsString({ each: true })
  @Matches(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\*?$/, {
    each: true,
    message:
      'each of the names is one of a worker (letters, digits, dots, dashes, underscores), or the beginning of one and a `*`',
  })
  names?: string[];
}

class RegistrationTokenDto implements RegistrationToken {
  @ApiProperty() id!: string;
  @ApiProperty({ type: 'integer' }) usesLeft!: number;
  @ApiProperty({ type: [String], nullable: true }) labels!: string[] | null;
  @ApiProperty({ type: [String], nullable: true }) names!: string[] | null;
  @ApiProperty({ format: 'date-time' }) createdAt!: string;
  @ApiProperty({ format: 'date-time' }) expiresAt!: string;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) revokedAt!: string | null;
}

class NewRegistrationTokenDto extends RegistrationTokenDto implements NewRegistrationToken {
  @ApiProperty({ description: '`igr_<id>_<secret>`; told only here' }) token!: string;
}

export class WorkerWish {
  @ApiProperty({ description: 'unique among the workers', example: 'builder-1' })
  @IsString()
  @Matches(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, {
    message:
      'name has 1 to 63 letters, digits, dots, dashes and underscores, and begins with a letter or digit',
  })
  name!: string;

  @ApiPropertyOptional({ type: [String] })
  @IsOptional()
  @IsArray()
  @ArrayMaxSize(64)
  @IsString({ each: true })
  @Matches(LABEL, LABEL_RULE)
  labels?: string[];
}

class WorkerCredentialDto implements WorkerCredential {
  @ApiProperty({ format: 'uuid' }) id!: string;
  @ApiProperty() name!: string;
  @ApiProperty({ format: 'uuid' }) farm!: string;
  @ApiProperty({ description: '`igw_<id>_<secret>`; told only here' }) token!: string;
}

class WorkerPlatformDto {
  @ApiProperty() os!: string;
  @ApiProperty() arch!: string;
  @ApiProperty() hostname!: string;
  @ApiProperty({ type: 'integer' }) cpus!: number;
  @ApiProperty({ type: 'integer', description: 'bytes' }) memory!: number;
}

class QuarantineReasonDto {
  @ApiProperty() code!: string;
  @ApiProperty() message!: string;
}

class QuarantineDto implements Quarantine {
  @ApiProperty({
    format: 'date-time',
    description: 'until then it is given no build; after that one at a time until one ends well',
  })
  until!: string;
  @ApiProperty({ type: 'integer', description: 'builds in a row that it spoiled or lost' })
  strikes!: number;
  @ApiProperty({
    type: QuarantineReasonDto,
    nullable: true,
    description: 'how the last of them ended',
  })
  reason!: QuarantineReasonDto | null;
}

class WorkerDto implements Worker {
  @ApiProperty({ format: 'uuid' }) id!: string;
  @ApiProperty() name!: string;
  @ApiProperty({ enum: STATES }) state!: Worker['state'];
  @ApiProperty({ type: [String] }) labels!: string[];
  @ApiProperty({
    type: [String],
    description:
      'labels that it claims and is not given, by its token or since its machine is another',
  })
  refusedLabels!: string[];
  @ApiProperty({ type: String, enum: ['docker', 'host', 'scripted'], nullable: true })
  executor!: Worker['executor'];
  @ApiProperty({ type: 'integer' }) slots!: number;
  @ApiProperty({ type: 'integer', description: 'builds it holds now' }) running!: number;
  @ApiProperty({ type: String, nullable: true }) version!: string | null;
  @ApiProperty({ type: WorkerPlatformDto, nullable: true }) platform!: WorkerPlatformDto | null;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) connectedAt!: string | null;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) lastSeenAt!: string | null;
  @ApiProperty({ format: 'date-time' }) registeredAt!: string;
  @ApiProperty({ type: 'integer', nullable: true, description: 'bytes, where it keeps its data' })
  diskFree!: number | null;
  @ApiProperty({ type: 'integer', nullable: true }) inodesFree!: number | null;
  @ApiProperty({
    type: 'integer',
    nullable: true,
    description: 'bytes, where its engine keeps images; null when it cannot see that',
  })
  engineDiskFree!: number | null;
  @ApiProperty({ type: 'integer', nullable: true }) engineInodesFree!: number | null;
  @ApiProperty({
    type: String,
    nullable: true,
    description: 'which disk is below its watermark, so that it is given no work',
  })
  lowDisk!: string | null;
  @ApiProperty({
    type: QuarantineDto,
    nullable: true,
    description: 'after several builds in a row that it spoiled or lost',
  })
  quarantine!: QuarantineDto | null;
  @ApiProperty({
    type: 'integer',
    nullable: true,
    description:
      'bytes of output in its spool that are not committed here, as it last said; null when it does not tell',
  })
  spooled!: number | null;
}

@ApiTags('workers')
@Controller('api/v1/registration-tokens')
@Requires('admin')
export class RegistrationTokensController {
  constructor(private readonly registration: Registration) {}

  @Get()
  @ApiPage(RegistrationTokenDto)
  list(@Query() query: PageQuery): Promise<Page<RegistrationToken>> {
    return this.registration.listTokens(query);
  }

  @Post()
  @ApiCreatedResponse({ type: NewRegistrationTokenDto })
  create(
    @Body() wish: RegistrationTokenWish,
    @Caller() caller: Caller,
  ): Promise<NewRegistrationToken> {
    return this.registration.createToken(wish, caller);
  }

  @Delete(':id')
  @HttpCode(204)
  @ApiNoContentResponse({ description: 'revoked; workers that registered with it stay' })
  async revoke(@Param('id') id: string, @Caller() caller: Caller): Promise<void> {
    await this.registration.revokeToken(id, caller);
  }
}

@ApiTags('workers')
@Controller('api/v1/workers')
@Requires('read')
export class WorkersController {
  constructor(
    private readonly workers: Workers,
    private readonly registration: Registration,
    private readonly throttle: TokenThrottle,
  ) {}

  @Get()
  @ApiPage(WorkerDto)
  list(@Query() query: PageQuery): Promise<Page<Worker>> {
    return this.workers.list(query);
  }

  /** Takes a registration token, not an API token. */
  @Post('register')
  @Public(REGISTRATION_BYTES)
  @ApiBearerAuth()
  @ApiCreatedResponse({ type: WorkerCredentialDto })
  register(
    @Ip() address: string,
    @Headers('authorization') authorization: string | undefined,
    @Body() wish: WorkerWish,
  ): Promise<WorkerCredential> {
    const token = bearer(authorization);
    return this.throttle.knock(address, token, () => this.registration.register(token, wish));
  }

  @Get(':name')
  @ApiOkResponse({ type: WorkerDto })
  get(@Param('name') name: string): Promise<Worker> {
    return this.workers.get(name);
  }

  @Post(':name/rotate')
  @Requires('admin')
  @HttpCode(200)
  @ApiOkResponse({ type: WorkerCredentialDto })
  rotate(@Param('name') name: string, @Caller() caller: Caller): Promise<WorkerCredential> {
    return this.workers.rotate(name, caller);
  }

  @Post(':name/resume')
  @Requires('admin')
  @HttpCode(200)
  @ApiOperation({ summary: 'End the quarantine of a worker' })
  @ApiOkResponse({ type: WorkerDto })
  resume(@Param('name') name: string, @Caller() caller: Caller): Promise<Worker> {
    return this.workers.resume(name, caller);
  }

  @Delete(':name')
  @Requires('admin')
  @HttpCode(204)
  @ApiNoContentResponse({ description: 'cut off; its builds go to others' })
  async revoke(@Param('name') name: string, @Caller() caller: Caller): Promise<void> {
    await this.workers.revoke(name, caller);
  }
}
