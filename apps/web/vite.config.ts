import react from '@vitejs/plugin-react';
import { defaultClientConditions, defineConfig } from 'vite';

/**
 * Everything is a file of its own: the page runs under `script-src 'self'; style-src 'self'`, so nothing may be
 * inlined (no preload helper, no data: addresses for small files).
 */
export default defineConfig({
  // the master puts the path of the farm's address before what is relative in index.html
  base: './',
  plugins: [react()],
  // our libraries as they are written: nothing need be compiled before
  resolve: { conditions: ['source', ...defaultClientConditions] },
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1000,
  },
  server: { proxy: { '/api': { target: 'http://127.0.0.1:8010', ws: true } } },
});
