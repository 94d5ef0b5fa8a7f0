import { artifacts } from './rows/artifacts.js';
import { backlog } from './rows/backlog.js';
import { biglog } from './rows/biglog.js';
import { dispatch, five, latency } from './rows/builds.js';
import { chain, container } from './rows/containers.js';
import { fleet } from './rows/fleet.js';
import { history } from './rows/history.js';
import { idle } from './rows/idle.js';
import { loglatency, viewers } from './rows/live.js';
import { log, shortlines } from './rows/logs.js';
import type { Row } from './row.js';

/** By name, in the order of the page. */
export const ROWS: Record<string, Row> = {
  dispatch,
  five,
  latency,
  container,
  chain,
  log,
  shortlines,
  loglatency,
  biglog,
  backlog,
  fleet,
  viewers,
  artifacts,
  history,
  idle,
};
