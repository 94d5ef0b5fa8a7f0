/**
 * Many files as one zip or tar stream. One file is open at a time, and it is read only as fast as the stream is; what
 * grows with the number of files is the zip's table of contents. Whoever stops reading destroys the stream, and with it
 * the file that is open. Contents are stored as they are: most artifacts are compressed already.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import yazl from 'yazl';
import type { Pause } from '@impgem/kit';

export const ARCHIVE_FORMATS = ['zip', 'tar'] as const;
export type ArchiveFormat = (typeof ARCHIVE_FORMATS)[number];

export interface ArchivedFile {
  /** As `portablePathProblem` wants it. */
  path: string;
  size: number;
  /** Permission bits, no set-uid or the like. */
  mode: number;
  time: Date;
  /** Its content, from the first byte; whole when it is small. */
  open: () => Promise<Readable | Buffer>;
}

/** `length` is known for a zip alone. */
export async function archiveOf(
  format: ArchiveFormat,
  files: readonly ArchivedFile[],
  pause: Pause,
): Promise<{ stream: Readable; length?: number }> {
  return format === 'zip' ? zipOf(files, pause) : { stream: tarOf(files, pause) };
}

/** What a file has in a zip's table of contents besides its name, at most. */
const RECORD_BYTES = 100;

/** Files and archives of more than 4 GiB, and more than 65,535 files, are zip64. */
async function zipOf(
  files: readonly ArchivedFile[],
  pause: Pause,
): Promise<{ stream: Readable; length: number }> {
  const zip = new yazl.ZipFile();
  const stream = owned(zip.outputStream as Readable);
  let open: Readable | undefined;
  zip.on('error', (error: Error) => stream.destroy(error));
  stream.once('close', () => open?.destroy());
  for (const { path, size, mode, time, open: opened } of files) {
    await pause();
    zip.addReadStreamLazy(
      path,
      { size, mode: 0o100_000 | mode, mtime: time, compress: false },
      (take) => {
        const give = async (): Promise<void> => {
          await pause();
          const content = await opened();
          open = content instanceof Readable ? content : Readable.from([content]);
          open.once('error', (error) => stream.destroy(error));
          if (stream.destroyed) open.destroy();
          else take(null, open);
        };
        give().catch((error: unknown) => stream.destroy(error as Error));
      },
    );
  }
  // Whether the end is zip64 the library answers in two ways once the table of contents has 64 KiB: then it has to be.
  const contents = files.reduce((sum, { path }) => sum + Buffer.byteLength(path) + RECORD_BYTES, 0);
  const options = { forceZip64Format: contents >= 0xffff, comment: '' };
  // It is called with the length, which its types do not know.
  const length = await new Promise<number>((resolve) => zip.end(options, resolve as () => void));
  return { stream, length };
}

function tarOf(files: readonly ArchivedFile[], pause: Pause): Readable {
  const pack = tar.pack();
  const stream = pack as unknown as Readable;
  const fill = async (): Promise<void> => {
    for (const { path, size, mode, time, open } of files) {
      await pause();
      const content = await open();
      const head = { name: path, size, mode, mtime: time, uid: 0, gid: 0 };
      if (content instanceof Readable) await pipeline(content, owned(pack.entry(head)));
      else await whole(pack, head, content);
    }
    pack.finalize();
  };
  fill().catch((error: unknown) => stream.destroy(error as Error));
  return owned(stream);
}

/** A small file at once. Resolves when the reader has room for more. */
async function whole(
  pack: tar.Pack,
  head: Partial<tar.Header> & { name: string },
  content: Buffer,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    owned(pack.entry(head, content, (error) => (error ? reject(error) : resolve())));
  });
}

/**
 * A content that cannot be read ends the stream with its error, also when the reader has gone and listens no more; an
 * error that nobody listens to would end the process.
 */
function owned<Stream extends { on(event: 'error', listener: () => void): unknown }>(
  stream: Stream,
): Stream {
  stream.on('error', () => undefined);
  return stream;
}
