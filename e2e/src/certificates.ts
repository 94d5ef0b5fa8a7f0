import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const openssl = (...words: string[]) => execute('openssl', words);

export interface Certificates {
  /** Paths of PEM files: an authority of its own, a certificate signed by it, and the certificate's key. */
  ca: string;
  cert: string;
  key: string;
}

/** An authority, and a certificate of it for these names, in this folder. */
export async function makeCertificates(
  folder: string,
  names: readonly string[],
): Promise<Certificates> {
  const at = (name: string) => join(folder, name);
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const ca = ['-x509', ...newKey, '-keyout', at('ca.key'), '-out', at('ca.pem')];
  await openssl('req', ...ca, '-days', '2', '-subj', '/CN=authority of a test');
  const asked = [...newKey, '-keyout', at('farm.key'), '-out', at('farm.csr')];
  await openssl('req', ...asked, '-subj', '/CN=farm of a test');
  await writeFile(at('names'), `subjectAltName=${names.join(',')}\n`);
  const from = ['-req', '-in', at('farm.csr'), '-extfile', at('names'), '-days', '2'];
  const by = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial'];
  await openssl('x509', ...from, ...by, '-out', at('farm.pem'));
  return { ca: at('ca.pem'), cert: at('farm.pem'), key: at('farm.key') };
}
