import { program } from '../../tools/rolldown.mjs';

export default program({
  main: 'src/main.ts',
  care: 'src/care.ts',
  launcher: 'src/executor/host/launcher.ts',
});
