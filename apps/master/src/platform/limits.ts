const GiB = 1024 ** 3;

/** Named bounds; hitting one is an error with a code and a metric. */
export interface Limits {
  /** Body of a request, bytes. */
  bodyBytes: number;
  /** A frame of the worker's or the live socket, bytes. */
  frameBytes: number;
  /** Connections of any kind; more are not taken. */
  connections: number;
  /** Connections on which nobody was let in and nothing is asked; the longest silent are cut off. */
  silentConnections: number;
  /** Of one address, or network of 64 bits, that is neither this machine's nor a proxy's. */
  silentConnectionsPerAddress: number;
  /** Upgrades that wait for an answer. */
  upgrades: number;
  /** Requests under way at once. */
  requests: number;
  /** Of one caller: an API token with all its sessions. */
  requestsPerCaller: number;
  /** Of them those that read, and are answered at once; more wait, and callers take turns. */
  readsAtOnce: number;
  /** Of one caller. */
  readsAtOncePerCaller: number;
  /** Downloads of artifacts and logs under way. */
  downloads: number;
  /** Of one caller. */
  downloadsPerCaller: number;
  /** Archives of artifacts under way. */
  archives: number;
  /** Of one caller. */
  archivesPerCaller: number;
  /** Searches of logs under way. */
  searches: number;
  /** Of one caller. */
  searchesPerCaller: number;
  /** Farm files that are checked or applied at once. */
  checks: number;
  /** Of one caller. */
  checksPerCaller: number;
  /** The check of one farm file, ms. */
  checkMs: number;
  /** Bodies above 64 KiB that are received. */
  bodies: number;
  /** Of one caller. */
  bodiesPerCaller: number;
  /** Connections of the live socket. */
  liveConnections: number;
  /** Of one caller. */
  liveConnectionsPerCaller: number;
  /** Subscriptions of one live connection. */
  liveSubscriptions: number;
  /** Subscriptions of all live connections. */
  liveSubscriptionsAtOnce: number;
  /** Of one caller. */
  liveSubscriptionsPerCaller: number;
  /** Requests on one live socket that are not answered yet; with more it is closed. */
  liveRequestsWaiting: number;
  /** Requests on all live sockets of one caller in a second; above that they are read more slowly. */
  liveRequestsPerSecond: number;
  /** So many of them at once. */
  liveRequestBurst: number;
  /** Reads of the database for live sockets at once; more wait, and callers take turns. */
  liveReadsAtOnce: number;
  /** Of one caller. */
  liveReadsAtOncePerCaller: number;
  /** Messages that wait for slow readers of live sockets, bytes: each has its share, 32 KiB to 1 MiB. */
  liveWaitingBytes: number;
  /** Worker connections. */
  workerConnections: number;
  /** Of one worker: the old one, the new one, and some that are not yet known to be dead. */
  connectionsPerWorker: number;
  /** Connections to the database. */
  databaseConnections: number;
  /** Sign-ins from one address that may fail in a minute. */
  signInFailuresPerMinute: number;
  /** Sign-ins with one token in a minute. */
  signInsPerMinute: number;
  /** Wrong tokens from one address in a minute, at all other doors. */
  tokenFailuresPerMinute: number;
  /** Sessions of one token; a new one ends the oldest. */
  sessionsPerToken: number;
  /** One artifact, bytes. */
  artifactBytes: number;
  /** Artifacts of one build. */
  artifactsPerBuild: number;
  /** All artifacts of one build together, bytes. */
  buildArtifactBytes: number;
  /** Artifacts of one build that are offered and not stored yet. */
  artifactsOnTheirWay: number;
  /** Memory for the lists of packs on their way, bytes; one worker gets a quarter. */
  artifactListBytes: number;
  /** An upgrade, until it is a WebSocket. */
  upgradeMs: number;
  /** Frames of one worker in a second that store nothing; above that its socket is read more slowly. */
  workerFramesPerSecond: number;
  /** So many of them at once. */
  workerFrameBurst: number;
  /** Events that a build tells of, log chunks apart. A plan has 1000 steps at the most, with two each. */
  eventsPerBuild: number;
  /** Properties that a build sets, and the bytes of their names and values. */
  propertiesPerBuild: number;
  propertyBytesPerBuild: number;
  /** The log of one step, bytes. */
  stepLogBytes: number;
  /** The logs of one build, bytes as they are stored. */
  buildLogBytes: number;
  /** Build requests that may wait: in all, and of one caller. */
  pendingRequests: number;
  pendingRequestsPerCaller: number;
  /** How long a graceful stop may take. */
  stopMs: number;
}

export const LIMITS: Limits = Object.freeze({
  bodyBytes: 2 * 1024 * 1024,
  frameBytes: 1024 * 1024 + 1024,
  connections: 20_000,
  silentConnections: 4000,
  silentConnectionsPerAddress: 256,
  upgrades: 12_000,
  requests: 2000,
  requestsPerCaller: 200,
  readsAtOnce: 8,
  readsAtOncePerCaller: 4,
  downloads: 200,
  downloadsPerCaller: 32,
  archives: 16,
  archivesPerCaller: 4,
  searches: 18,
  searchesPerCaller: 6,
  checks: 8,
  checksPerCaller: 4,
  checkMs: 20_000,
  bodies: 64,
  bodiesPerCaller: 16,
  liveConnections: 2000,
  liveConnectionsPerCaller: 600,
  liveSubscriptions: 64,
  liveSubscriptionsAtOnce: 10_000,
  liveSubscriptionsPerCaller: 1000,
  liveRequestsWaiting: 128,
  liveRequestsPerSecond: 100,
  liveRequestBurst: 600,
  liveReadsAtOnce: 4,
  liveReadsAtOncePerCaller: 2,
  liveWaitingBytes: 32 * 1024 * 1024,
  workerConnections: 10_000,
  connectionsPerWorker: 8,
  databaseConnections: 20,
  signInFailuresPerMinute: 10,
  signInsPerMinute: 60,
  tokenFailuresPerMinute: 100,
  sessionsPerToken: 50,
  artifactBytes: 16 * 1024 ** 3,
  artifactsPerBuild: 50_000,
  workerFramesPerSecond: 2000,
  workerFrameBurst: 20_000,
  eventsPerBuild: 5000,
  propertiesPerBuild: 100,
  propertyBytesPerBuild: 64 * 1024,
  stepLogBytes: 2 * GiB,
  buildLogBytes: 8 * GiB,
  buildArtifactBytes: 32 * GiB,
  artifactsOnTheirWay: 16,
  artifactListBytes: 256 * 1024 * 1024,
  upgradeMs: 15_000,
  pendingRequests: 200_000,
  pendingRequestsPerCaller: 50_000,
  stopMs: 20_000,
});
