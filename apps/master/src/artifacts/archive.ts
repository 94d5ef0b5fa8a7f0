/**
 * Many files as one zip or tar stream. One file is open at a time, and it is read only as fast as the stream is; what
 * grows with the number of files is the zip's table of contents. Whoever stops reading destroys the stream, and with it
 * the file that is open. Contents are stored as they are: most artifacts are compressed already.
 */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import yazl from 'yazl';

export const ARCHIVE_FORMATS = ['zip', 'tar'] as const;
export type ArchiveFormat = (typeof ARCHIVE_FORMATS)[number];

export interface ArchivedFile {
  /** Checked: relative, nothing in it climbs. */
  path: string;
  size: number;
  mode: number;
  time: Date;
  /** Where the content lies. */
  file: string;
}

/** `length` is known for a zip alone. */
export async function archiveOf(
  format: ArchiveFormat,
  files: readonly ArchivedFile[],
): Promise<{ stream: Readable; length?: number }> {
  return format === 'zip' ? zipOf(files) : { stream: tarOf(files) };
}

/** Files and archives of more than 4 GiB, and more than 65,535 files, are zip64. */
async function zipOf(
  files: readonly ArchivedFile[],
): Promise<{ stream: Readable; length: number }> {
  const zip = new yazl.ZipFile();
  const stream = zip.outputStream as Readable;
  let open: Readable | undefined;
  zip.on('error', (error: Error) => stream.destroy(error));
  stream.once('close', () => open?.destroy());
  for (const { path, size, mode, time, file } of files)
    zip.addReadStreamLazy(
      path,
      { size, mode: 0o100_000 | mode, mtime: time, compress: false },
      (take) => {
        if (stream.destroyed) return;
        open = createReadStream(file);
        open.once('error', (error) => stream.destroy(error));
        take(null, open);
      },
    );
  const options = { forceZip64Format: false, comment: '' };
  // It is called with the length, which its types do not know.
  const length = await new Promise<number>((resolve) => zip.end(options, resolve as () => void));
  return { stream, length };
}

function tarOf(files: readonly ArchivedFile[]): Readable {
  const pack = tar.pack();
  const stream = pack as unknown as Readable;
  const fill = async (): Promise<void> => {
    for (const { path, size, mode, time, file } of files) {
      const entry = pack.entry({ name: path, size, mode, mtime: time, uid: 0, gid: 0 });
      await pipeline(createReadStream(file), entry);
    }
    pack.finalize();
  };
  fill().catch((error: unknown) => stream.destroy(error as Error));
  return stream;
}
