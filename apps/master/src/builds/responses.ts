/** The shapes of builders, requests and builds in the REST interface; the same as in the client library. */
import { ApiProperty } from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { RESULTS, STEP_KINDS } from '@impgem/pipeline';
import { Artifact } from '../artifacts/index.js';

export const REQUEST_STATES = ['pending', 'claimed', 'finished'] as const;
export const BUILD_STATES = ['running', 'cancelling', 'finished'] as const;
const STEP_STATES = ['pending', 'running', 'finished'] as const;

const ID = { type: 'integer' } as const;
const TEXTS = { type: 'object', additionalProperties: { type: 'string' } } as const;
const TIME = { type: String, format: 'date-time' } as const;
const TIME_OR_NULL = { ...TIME, nullable: true } as const;
const RESULT = { enum: RESULTS, nullable: true } as const;

export class Reason implements api.Reason {
  @ApiProperty({ description: 'Registered' }) code!: string;
  @ApiProperty({ description: 'For people' }) message!: string;
}

export class Build implements api.Build {
  @ApiProperty(ID) id!: number;
  @ApiProperty() builder!: string;
  @ApiProperty({ ...ID, description: 'Per builder' }) number!: number;
  @ApiProperty(ID) request!: number;
  @ApiProperty({ ...ID, description: '1 for the first attempt of its request' }) attempt!: number;
  @ApiProperty({ enum: BUILD_STATES }) state!: api.Build['state'];
  @ApiProperty(RESULT) result!: api.Result | null;
  @ApiProperty({ type: Reason, nullable: true }) reason!: Reason | null;
  @ApiProperty({ type: String, nullable: true }) worker!: string | null;
  @ApiProperty(TEXTS) properties!: Record<string, string>;
  @ApiProperty() submittedBy!: string;
  @ApiProperty(TIME) createdAt!: string;
  @ApiProperty(TIME_OR_NULL) startedAt!: string | null;
  @ApiProperty(TIME_OR_NULL) finishedAt!: string | null;
}

export class Log implements api.Log {
  @ApiProperty(ID) bytes!: number;
  @ApiProperty({ ...ID, description: 'Newlines so far' }) lines!: number;
  @ApiProperty() finished!: boolean;
  @ApiProperty({ description: 'It was older than its builder keeps logs' }) removed!: boolean;
  @ApiProperty({ ...TEXTS, nullable: true, description: 'Per stream, once finished' })
  sha256!: api.Log['sha256'];
}

export class Step implements api.Step {
  @ApiProperty(ID) index!: number;
  @ApiProperty() name!: string;
  @ApiProperty({ enum: STEP_KINDS }) kind!: api.Step['kind'];
  @ApiProperty({ enum: STEP_STATES }) state!: api.Step['state'];
  @ApiProperty(RESULT) result!: api.Result | null;
  @ApiProperty({ type: Reason, nullable: true }) reason!: Reason | null;
  @ApiProperty({ ...ID, nullable: true }) exitCode!: number | null;
  @ApiProperty(TIME_OR_NULL) startedAt!: string | null;
  @ApiProperty(TIME_OR_NULL) finishedAt!: string | null;
  @ApiProperty() log!: Log;
}

export class BuildDetail extends Build implements api.BuildDetail {
  @ApiProperty({ type: [Step] }) steps!: Step[];
  @ApiProperty({ type: [Artifact], description: 'The first 200' }) artifacts!: Artifact[];
  @ApiProperty({ type: 'object', additionalProperties: true, description: 'What it ran with' })
  plan!: object;
  @ApiProperty(ID) farmVersion!: number;
}

class Attempt {
  @ApiProperty(ID) id!: number;
  @ApiProperty(ID) number!: number;
  @ApiProperty({ enum: BUILD_STATES }) state!: api.Build['state'];
  @ApiProperty(RESULT) result!: api.Result | null;
}

export class BuildRequest implements api.BuildRequest {
  @ApiProperty(ID) id!: number;
  @ApiProperty() builder!: string;
  @ApiProperty({ enum: REQUEST_STATES }) state!: api.BuildRequest['state'];
  @ApiProperty(RESULT) result!: api.Result | null;
  @ApiProperty({ type: String, nullable: true }) reason!: string | null;
  @ApiProperty(TEXTS) properties!: Record<string, string>;
  @ApiProperty({ ...ID, description: 'Higher goes first' }) priority!: number;
  @ApiProperty(TIME) submittedAt!: string;
  @ApiProperty() submittedBy!: string;
  @ApiProperty({ type: [Attempt], description: 'Its attempts, oldest first' }) builds!: Attempt[];
}

export class BuildRequests implements api.BuildRequests {
  @ApiProperty({ type: [BuildRequest], description: 'In the order in which they were asked for' })
  requests!: BuildRequest[];
}

class Source {
  @ApiProperty() git!: string;
  @ApiProperty({ type: String, nullable: true }) ref!: string | null;
}

export class PropertyDefinition implements api.PropertyDefinition {
  @ApiProperty({ type: String, nullable: true }) description!: string | null;
  @ApiProperty({ type: String, nullable: true }) default!: string | null;
  @ApiProperty() required!: boolean;
  @ApiProperty({ type: [String], nullable: true }) choices!: string[] | null;
}

class StepOutline {
  @ApiProperty() name!: string;
  @ApiProperty({ enum: STEP_KINDS }) kind!: string;
}

export class Builder implements api.Builder {
  @ApiProperty() name!: string;
  @ApiProperty({ type: String, nullable: true }) description!: string | null;
  @ApiProperty({ type: [String] }) labels!: string[];
  @ApiProperty({ type: String, nullable: true }) image!: string | null;
  @ApiProperty({ type: Source, nullable: true }) source!: Source | null;
  @ApiProperty({
    type: 'object',
    additionalProperties: { $ref: '#/components/schemas/PropertyDefinition' },
  })
  properties!: Record<string, PropertyDefinition>;
  @ApiProperty({ type: [StepOutline] }) steps!: StepOutline[];
  @ApiProperty({ ...ID, description: 'Of the farm file that it stands in' }) farmVersion!: number;
  @ApiProperty({ type: Build, nullable: true }) lastBuild!: Build | null;
  @ApiProperty({ ...ID, description: 'Requests that wait' }) pending!: number;
  @ApiProperty({ ...ID, description: 'Builds that run' }) running!: number;
}
