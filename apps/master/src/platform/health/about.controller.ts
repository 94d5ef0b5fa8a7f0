import { Controller, Get } from '@nestjs/common';
import { ApiOkResponse, ApiProperty, ApiTags } from '@nestjs/swagger';
import type { About } from '@impgem/client';
import { MasterConfig } from '../config.js';
import { Database } from '../database/database.js';
import { Requires } from '../http/route-access.js';
import { VERSION } from '../version.js';

class DatabaseDto {
  @ApiProperty({ description: 'of PostgreSQL' }) version!: string;
  @ApiProperty({ description: 'whether the master runs it itself, in its data folder' })
  embedded!: boolean;
}

class AboutDto implements About {
  @ApiProperty({ format: 'uuid', description: 'labels what workers make in engines' })
  farm!: string;
  @ApiProperty({ description: 'of the master' }) version!: string;
  @ApiProperty({ format: 'date-time', description: "the master's clock" }) time!: string;
  @ApiProperty({ type: DatabaseDto }) database!: DatabaseDto;
}

@ApiTags('health')
@Controller('api/v1/about')
@Requires('read')
export class AboutController {
  constructor(
    private readonly db: Database,
    private readonly config: MasterConfig,
  ) {}

  /** Which farm this is, and what runs it. */
  @Get()
  @ApiOkResponse({ type: AboutDto })
  async about(): Promise<About> {
    const [row] = await this.db.query<{ farm: string; version: string }>(
      `SELECT id AS farm, current_setting('server_version') AS version FROM farm`,
    );
    return {
      farm: row?.farm ?? '',
      version: VERSION,
      time: new Date().toISOString(),
      database: {
        version: row?.version ?? '',
        embedded: this.config.databaseUrl === undefined,
      },
    };
  }
}
