import { program } from '../../tools/rolldown.mjs';

export default program({
  main: 'src/main.ts',
  'search-thread': 'src/logs/search-thread.ts',
  'farm-thread': 'src/builders/farm-thread.ts',
});
