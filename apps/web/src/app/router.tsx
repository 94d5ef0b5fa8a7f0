import type { Build, Result } from '@impgem/client';
import {
  createRootRoute,
  createRoute,
  createRouter,
  redirect,
  useNavigate,
} from '@tanstack/react-router';
import { api, type BuildFilter } from '../lib/api.js';
import { BuildList } from '../features/builds/build-list.js';
import { WorkerList } from '../features/workers/worker-list.js';
import { Crash, NotFound } from './not-found.js';
import { BuildScreen, BuilderScreen, BuildersScreen, RequestScreen } from './screens.js';
import { Shell, useRights } from './shell.js';
import { basePath } from '../lib/base.js';

/** The addresses of the page. Screens get their place in it as props; features know no routes but for links. */
const root = createRootRoute({
  component: Shell,
  notFoundComponent: NotFound,
  errorComponent: Crash,
});

const home = createRoute({
  getParentRoute: () => root,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/builders' });
  },
});

const builders = createRoute({
  getParentRoute: () => root,
  path: '/builders',
  component: BuildersScreen,
});

const builder = createRoute({
  getParentRoute: () => root,
  path: '/builders/$name',
  component: function BuilderRoute() {
    return <BuilderScreen name={builder.useParams().name} />;
  },
});

/** The address people can guess; the canonical one goes by id. */
const numbered = createRoute({
  getParentRoute: () => root,
  path: '/builders/$name/builds/$number',
  loader: async ({ params }) => {
    const build = await api.builds.byNumber(params.name, Number(params.number));
    throw redirect({ to: '/builds/$id', params: { id: String(build.id) }, replace: true });
  },
});

const STATES: readonly Build['state'][] = ['running', 'cancelling', 'finished'];
const RESULTS: readonly Result[] = [
  'cancelled',
  'retry',
  'exception',
  'failure',
  'warnings',
  'success',
  'skipped',
];

const builds = createRoute({
  getParentRoute: () => root,
  path: '/builds',
  validateSearch: (search: Record<string, unknown>): BuildFilter => {
    const state = STATES.find((value) => value === search['state']);
    const result = RESULTS.find((value) => value === search['result']);
    const { builder: name } = search;
    return {
      ...(typeof name === 'string' || typeof name === 'number' ? { builder: String(name) } : {}),
      ...(state ? { state } : {}),
      ...(result ? { result } : {}),
    };
  },
  component: function BuildsRoute() {
    const navigate = useNavigate({ from: '/builds' });
    return (
      <BuildList
        filter={builds.useSearch()}
        onFilter={(search) => void navigate({ search, replace: true })}
      />
    );
  },
});

const build = createRoute({
  getParentRoute: () => root,
  path: '/builds/$id',
  validateSearch: (search: Record<string, unknown>): { step?: number } => {
    const step = Number(search['step'] ?? Number.NaN);
    return Number.isInteger(step) && step >= 0 ? { step } : {};
  },
  component: function BuildRoute() {
    const id = Number(build.useParams().id);
    return Number.isInteger(id) && id > 0 ? (
      <BuildScreen key={id} id={id} step={build.useSearch().step} />
    ) : (
      <NotFound />
    );
  },
});

const request = createRoute({
  getParentRoute: () => root,
  path: '/requests/$id',
  validateSearch: (search: Record<string, unknown>): { stay?: true } =>
    search['stay'] ? { stay: true } : {},
  component: function RequestRoute() {
    const id = Number(request.useParams().id);
    return Number.isInteger(id) && id > 0 ? (
      <RequestScreen id={id} stay={request.useSearch().stay === true} />
    ) : (
      <NotFound />
    );
  },
});

const workers = createRoute({
  getParentRoute: () => root,
  path: '/workers',
  component: function WorkersRoute() {
    return <WorkerList mayAdmin={useRights().admin} />;
  },
});

export const router = createRouter({
  basepath: basePath || '/',
  routeTree: root.addChildren([home, builders, builder, numbered, builds, build, request, workers]),
  defaultPreload: false,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
