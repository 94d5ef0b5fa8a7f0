import '../ui/layers.css';
import '@fontsource-variable/inter/wght.css';
import '@fontsource-variable/jetbrains-mono/wght.css';
import '@mantine/core/styles.layer.css';
import '../ui/theme.css';
import { MantineProvider, createTheme } from '@mantine/core';
import { QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { createRoot } from 'react-dom/client';
import { ProblemError } from '@impgem/client';
import { keys } from '../lib/keys.js';
import { router } from './router.js';

/** Whether asking again may help: no answer, or one that says "later". */
function mayRetry(failures: number, error: Error): boolean {
  return failures < 3 && (!(error instanceof ProblemError) || error.status >= 500);
}

const queries = new QueryClient({
  defaultOptions: {
    // Events keep what is shown fresh; a focus or a remount asks again only for what has become old.
    queries: { staleTime: 30_000, retry: mayRetry },
    mutations: { retry: false },
  },
  queryCache: new QueryCache({
    onError: (error, query) => {
      if (query.queryKey[0] === keys.session[0]) return;
      if (error instanceof ProblemError && error.status === 401)
        void queries.invalidateQueries({ queryKey: keys.session });
    },
  }),
});

/** The colours stand in theme.css; this names what components compute class names and variables from. */
const theme = createTheme({ primaryColor: 'violet', primaryShade: { light: 6, dark: 8 } });

/** The system decides between light and dark, at any time; nothing is stored. */
const bySystem = {
  get: () => 'auto' as const,
  set: () => undefined,
  subscribe: () => undefined,
  unsubscribe: () => undefined,
  clear: () => undefined,
};

const root = document.querySelector('#root');
if (root)
  createRoot(root).render(
    <MantineProvider
      theme={theme}
      defaultColorScheme="auto"
      colorSchemeManager={bySystem}
      withCssVariables={false}
      withGlobalClasses={false}
    >
      <QueryClientProvider client={queries}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </MantineProvider>,
  );
