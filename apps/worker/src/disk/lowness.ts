import { inMiB } from '@impgem/kit';

/** What is free where a folder lies. */
export interface Free {
  folder: string;
  device: number;
  bytes: number;
  /** Absent when the file system does not count them. */
  inodes: number | undefined;
}

/** What must stay free. */
export interface Watermark {
  bytes: number;
  inodes: number;
}

/** Which of the places is below the watermark, in a sentence with the mend; absent when all is well. */
export function lowness(places: readonly Free[], mark: Watermark): string | undefined {
  for (const { folder, bytes, inodes } of places) {
    if (bytes < mark.bytes)
      return (
        `${folder} has ${inMiB(bytes)} free, and wants ${inMiB(mark.bytes)}: ` +
        'make room there, or lower IMPGEM_WORKER_MIN_FREE'
      );
    if (inodes !== undefined && inodes < mark.inodes)
      return (
        `${folder} has ${inodes} inodes free, and wants ${Math.ceil(mark.inodes)}: ` +
        'remove files there, or lower IMPGEM_WORKER_MIN_FREE_INODES'
      );
  }
  return undefined;
}
