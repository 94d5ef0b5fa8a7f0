/**
 * Proof at compile time that the hand-written shapes of `api.ts`, which carry the prose, agree with `schema.ts`,
 * which is generated from what the master says of itself (`node tools/openapi.mjs`). A field that one of them lacks, or
 * that has another type, is an error here that names the shape.
 */
import type * as api from './api.js';
import type { components } from './schema.js';

type Schemas = components['schemas'];
/** The same keys, and one of them fits where the other is asked for: the master may say less in its types. */
type Agrees<Ours, Theirs> = [keyof Ours, keyof Theirs] extends [keyof Theirs, keyof Ours]
  ? Ours extends Theirs
    ? true
    : Theirs extends Ours
      ? true
      : { differs: Different<Ours, Theirs> }
  : { onlyOurs: Exclude<keyof Ours, keyof Theirs>; onlyTheirs: Exclude<keyof Theirs, keyof Ours> };
type Different<Ours, Theirs> = {
  [K in keyof Ours & keyof Theirs as Ours[K] extends Theirs[K] ? never : K]: [Ours[K], Theirs[K]];
};

/** Each value must be `true`; any other type that stands here in an error says what differs. */
export const agrees: {
  About: Agrees<api.About, Schemas['AboutDto']>;
  AppliedFarm: Agrees<api.AppliedFarm, Schemas['AppliedFarm']>;
  Artifact: Agrees<api.Artifact, Schemas['Artifact']>;
  AuditEntry: Agrees<api.AuditEntry, Schemas['AuditEntryDto']>;
  Build: Agrees<api.Build, Schemas['Build']>;
  BuildDetail: Agrees<api.BuildDetail, Schemas['BuildDetail']>;
  BuildRequest: Agrees<api.BuildRequest, Schemas['BuildRequest']>;
  BuildRequests: Agrees<api.BuildRequests, Schemas['BuildRequests']>;
  Builder: Agrees<api.Builder, Schemas['Builder']>;
  FarmEvent: Agrees<api.FarmEvent, Schemas['FarmEvent']>;
  FarmFile: Agrees<api.FarmFile, Schemas['FarmFile']>;
  FarmVersion: Agrees<api.FarmVersion, Schemas['FarmVersion']>;
  FileProblem: Agrees<api.FileProblem, Schemas['FileProblem']>;
  Log: Agrees<api.Log, Schemas['Log']>;
  LogMatch: Agrees<api.LogMatch, Schemas['LogMatch']>;
  LogSearchResult: Agrees<api.LogSearchResult, Schemas['LogSearchResult']>;
  NewRegistrationToken: Agrees<api.NewRegistrationToken, Schemas['NewRegistrationTokenDto']>;
  NewToken: Agrees<api.NewToken, Schemas['NewTokenDto']>;
  Problem: Agrees<api.Problem, Schemas['Problem']>;
  PropertyDefinition: Agrees<api.PropertyDefinition, Schemas['PropertyDefinition']>;
  Reason: Agrees<api.Reason, Schemas['Reason']>;
  RegistrationToken: Agrees<api.RegistrationToken, Schemas['RegistrationTokenDto']>;
  RetentionItem: Agrees<api.RetentionItem, Schemas['RetentionItem']>;
  RetentionReport: Agrees<api.RetentionReport, Schemas['RetentionReport']>;
  DiskState: Agrees<api.DiskState, Schemas['DiskState']>;
  Session: Agrees<api.Session, Schemas['SessionDto']>;
  Step: Agrees<api.Step, Schemas['Step']>;
  Token: Agrees<api.Token, Schemas['TokenDto']>;
  Worker: Agrees<api.Worker, Schemas['WorkerDto']>;
  WorkerCredential: Agrees<api.WorkerCredential, Schemas['WorkerCredentialDto']>;
} = {
  About: true,
  AppliedFarm: true,
  Artifact: true,
  AuditEntry: true,
  Build: true,
  BuildDetail: true,
  BuildRequest: true,
  BuildRequests: true,
  Builder: true,
  FarmEvent: true,
  FarmFile: true,
  FarmVersion: true,
  FileProblem: true,
  Log: true,
  LogMatch: true,
  LogSearchResult: true,
  NewRegistrationToken: true,
  NewToken: true,
  Problem: true,
  PropertyDefinition: true,
  Reason: true,
  RegistrationToken: true,
  RetentionItem: true,
  RetentionReport: true,
  DiskState: true,
  Session: true,
  Step: true,
  Token: true,
  Worker: true,
  WorkerCredential: true,
};
