/** What the engine tells during a pull: one of these a layer and phase. Sizes in bytes. */
export interface PullEvent {
  id?: string;
  status?: string;
  progressDetail?: { current?: number; total?: number };
}

const DONE = new Set(['Download complete', 'Verifying Checksum', 'Extracting', 'Pull complete']);

/** Adds the layers of a pull up to one line. */
export class PullProgress {
  readonly #layers = new Map<string, { current: number; total: number }>();

  take({ id, status, progressDetail }: PullEvent): void {
    if (id === undefined) return;
    const layer = this.#layers.get(id) ?? { current: 0, total: 0 };
    if (status === 'Downloading' && progressDetail?.total) {
      layer.current = progressDetail.current ?? 0;
      layer.total = progressDetail.total;
    } else if (status !== undefined && DONE.has(status)) {
      layer.current = layer.total;
    } else {
      return;
    }
    this.#layers.set(id, layer);
  }

  text(): string {
    let current = 0;
    let total = 0;
    for (const layer of this.#layers.values()) {
      current += layer.current;
      total += layer.total;
    }
    if (total === 0) return 'asking the registry';
    return current === total
      ? `unpacking ${mega(total)} MB`
      : `${mega(current)} of ${mega(total)} MB`;
  }
}

function mega(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
