import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import {
  ApiCreatedResponse,
  ApiNoContentResponse,
  ApiProperty,
  ApiPropertyOptional,
  ApiTags,
} from '@nestjs/swagger';
import {
  ArrayNotEmpty,
  ArrayUnique,
  IsArray,
  IsIn,
  IsInt,
  IsOptional,
  IsString,
  Matches,
  Max,
  Min,
} from 'class-validator';
import type { NewToken, Page, Scope, Token } from '@impgem/client';
import { ApiPage, PageQuery, Requires } from '../platform/index.js';
import { Caller } from './caller.js';
import { Tokens } from './tokens.js';

const SCOPES = ['read', 'trigger', 'admin'] as const;

export class TokenWish {
  @ApiProperty({ description: 'unique among the tokens in force', example: 'ci' })
  @IsString()
  @Matches(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, {
    message:
      'name has 1 to 63 letters, digits, dots, dashes and underscores, and begins with a letter or digit',
  })
  name!: string;

  @ApiProperty({ enum: SCOPES, isArray: true, description: 'admin implies trigger implies read' })
  @IsArray()
  @ArrayNotEmpty()
  @ArrayUnique()
  @IsIn(SCOPES, { each: true })
  scopes!: Scope[];

  @ApiPropertyOptional({ type: 'integer', description: 'seconds; left out: it never expires' })
  @IsOptional()
  @IsInt()
  @Min(1)
  @Max(10 * 365 * 86_400)
  expiresIn?: number;
}

class TokenDto implements Token {
  @ApiProperty() id!: string;
  @ApiProperty() name!: string;
  @ApiProperty({ enum: SCOPES, isArray: true }) scopes!: Scope[];
  @ApiProperty({ format: 'date-time' }) createdAt!: string;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) expiresAt!: string | null;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) lastUsedAt!: string | null;
  @ApiProperty({ type: String, format: 'date-time', nullable: true }) revokedAt!: string | null;
}

class NewTokenDto extends TokenDto implements NewToken {
  @ApiProperty({ description: '`igt_<id>_<secret>`; told only here' }) token!: string;
}

@ApiTags('access')
@Controller('api/v1/tokens')
@Requires('admin')
export class TokensController {
  constructor(private readonly tokens: Tokens) {}

  @Get()
  @ApiPage(TokenDto)
  list(@Query() query: PageQuery): Promise<Page<Token>> {
    return this.tokens.list(query);
  }

  @Post()
  @ApiCreatedResponse({ type: NewTokenDto })
  create(@Body() wish: TokenWish, @Caller() caller: Caller): Promise<NewToken> {
    return this.tokens.create(wish, caller);
  }

  @Delete(':id')
  @HttpCode(204)
  @ApiNoContentResponse({ description: 'revoked, also when it was before' })
  async revoke(@Param('id') id: string, @Caller() caller: Caller): Promise<void> {
    await this.tokens.revoke(id, caller);
  }
}
