import { applyDecorators, type Type } from '@nestjs/common';
import { ApiExtraModels, ApiOkResponse, ApiPropertyOptional, getSchemaPath } from '@nestjs/swagger';
import { Type as Convert } from 'class-transformer';
import { IsInt, IsOptional, IsString, Max, MaxLength, Min } from 'class-validator';
import type { Page } from '@impgem/client';

export const PAGE_LIMIT = { default: 50, most: 200 } as const;

/** `?after=…&limit=…` of every list. Extend it with a list's filters. */
export class PageQuery {
  /** `next` of the page before. */
  @ApiPropertyOptional({ description: '`next` of the page before' })
  @IsOptional()
  @IsString()
  @MaxLength(200)
  after?: string;

  @ApiPropertyOptional({
    type: 'integer',
    default: PAGE_LIMIT.default,
    minimum: 1,
    maximum: PAGE_LIMIT.most,
  })
  @IsOptional()
  @Convert(() => Number)
  @IsInt()
  @Min(1)
  @Max(PAGE_LIMIT.most)
  limit: number = PAGE_LIMIT.default;
}

/**
 * A page from up to `limit + 1` rows in the list's order: the row too many only says that there are more.
 * `cursorOf` gives a row's position, which the next query takes as `after`.
 */
export function pageOf<Item>(
  rows: readonly Item[],
  limit: number,
  cursorOf: (item: Item) => string,
): Page<Item> {
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, next: rows.length > limit && last !== undefined ? cursorOf(last) : null };
}

/** Documents a list's answer. */
export function ApiPage(item: Type): MethodDecorator {
  return applyDecorators(
    ApiExtraModels(item),
    ApiOkResponse({
      schema: {
        type: 'object',
        required: ['items', 'next'],
        properties: {
          items: { type: 'array', items: { $ref: getSchemaPath(item) } },
          next: { type: 'string', nullable: true },
        },
      },
    }),
  );
}
