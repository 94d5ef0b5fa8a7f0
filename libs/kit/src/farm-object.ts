/** Something in an engine that a worker of a farm made. */
export interface FarmObject {
  kind: 'container' | 'volume' | 'network';
  id: string;
  name: string;
  /** Id of the worker. */
  worker: string;
  role: string;
  build: number | null;
  /** ISO 8601; nobody can need it after that. */
  expires: string | null;
}

/** What became of one that was to be removed; without a `problem` it is gone. */
export interface Removal extends Pick<FarmObject, 'kind' | 'id'> {
  problem?: string;
}
