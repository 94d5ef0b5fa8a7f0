import { program } from '../../tools/rolldown.mjs';

export default program({ main: 'src/main.ts', 'own-folder': 'src/own-folder.ts' });
