import { Controller, Get, Header } from '@nestjs/common';
import { ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger';
import { register } from 'prom-client';
import { Requires } from '../http/route-access.js';

@ApiTags('health')
@Controller('metrics')
@Requires('read')
export class MetricsController {
  /** For Prometheus: give it a token with the scope `read`. */
  @Get()
  @Header('content-type', register.contentType)
  @ApiProduces('text/plain')
  @ApiOkResponse({ schema: { type: 'string' } })
  metrics(): Promise<string> {
    return register.metrics();
  }
}
