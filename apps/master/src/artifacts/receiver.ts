import type { ArtifactDone, ArtifactFrame, ArtifactOffer } from '@impgem/protocol';
import { FarmError } from '@impgem/kit';
import { Injectable } from '@nestjs/common';

@Injectable()
export class ArtifactReceiver {
  async offer(_worker: string, _m: ArtifactOffer): Promise<{ offset: number }> {
    throw new FarmError('artifact-refused', 'not yet');
  }
  async write(_frame: ArtifactFrame): Promise<{ offset: number }> {
    throw new FarmError('artifact-refused', 'not yet');
  }
  async done(_m: ArtifactDone): Promise<void> {
    throw new FarmError('artifact-refused', 'not yet');
  }
  async forget(_build: number, _epoch: number): Promise<void> {}
}
