/** The farm's shapes in the REST interface; the same as in the client library, for OpenAPI. */
import { ApiProperty, ApiPropertyOptional } from '@nestjs/swagger';
import type * as api from '@impgem/client';
import { IsString, MaxLength } from 'class-validator';

/** Characters of a farm file; the reader has a limit of its own below this. */
const MAX_SOURCE = 2 * 1024 * 1024;

export class FarmSource {
  /** The farm file, YAML. */
  @ApiProperty() @IsString() @MaxLength(MAX_SOURCE) source!: string;
}

export class FileProblem implements api.FileProblem {
  @ApiProperty({ description: 'Where, e.g. builders.hello.steps[0].run' }) path!: string;
  @ApiProperty() message!: string;
  @ApiPropertyOptional({ type: 'integer', description: 'From 1' }) line?: number;
  @ApiPropertyOptional({ type: 'integer', description: 'From 1' }) column?: number;
}

export class LintResult {
  @ApiProperty({ type: [FileProblem] }) problems!: FileProblem[];
}

export class FarmVersion implements api.FarmVersion {
  @ApiProperty({ type: 'integer' }) version!: number;
  @ApiProperty({ format: 'date-time' }) appliedAt!: string;
  @ApiProperty() appliedBy!: string;
  @ApiProperty({ description: 'Of the text, in hex' }) sha256!: string;
  @ApiProperty({ type: [String], description: 'Names, in the order of the file' })
  builders!: string[];
}
export class FarmFile extends FarmVersion implements api.FarmFile {
  @ApiProperty({ description: 'The YAML, as applied' }) source!: string;
}
export class AppliedFarm extends FarmVersion implements api.AppliedFarm {
  @ApiProperty({ description: 'False when the text was in force already' }) changed!: boolean;
}
