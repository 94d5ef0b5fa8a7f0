import type { BuildDetail } from '@impgem/client';
import { api } from '../../lib/api.js';
import { formatBytes } from '../../lib/format.js';
import { CopyValue } from '../../ui/copy.js';
import { Empty } from '../../ui/page.js';
import table from '../../ui/table.module.css';
import styles from './builds.module.css';

const FORMATS = ['zip', 'tar'] as const;

export function Artifacts({ build }: { build: BuildDetail }) {
  if (build.artifacts.length === 0)
    return (
      <Empty
        title={build.state === 'finished' ? 'This build left no artifacts' : 'No artifacts yet'}
      >
        <p>
          Files that match the builder’s <code>artifacts:</code> patterns are collected from the
          workspace after the last step.
        </p>
      </Empty>
    );
  return (
    <div className={table.frame}>
      <p className={styles.archives}>
        All of them:{' '}
        {FORMATS.map((format) => (
          <a key={format} href={api.address.archive(build.id, format)} download>
            {format}
          </a>
        ))}
      </p>
      <table className={table.table}>
        <thead>
          <tr>
            <th>File</th>
            <th>Size</th>
            <th>SHA-256</th>
          </tr>
        </thead>
        <tbody>
          {build.artifacts.map((artifact) => (
            <tr key={artifact.path}>
              <td>
                <a
                  className={`${table.main} ${styles.path}`}
                  href={api.address.artifact(build.id, artifact.path)}
                  download
                >
                  {artifact.path}
                </a>
              </td>
              <td data-label="Size" className="number nowrap" title={`${artifact.size} bytes`}>
                {formatBytes(artifact.size)}
              </td>
              <td data-label="SHA-256">
                <CopyValue value={artifact.sha256} label={`the SHA-256 of ${artifact.path}`} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
