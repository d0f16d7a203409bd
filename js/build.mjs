// Builds both packages into their dist folders, and says how big they are.

import { execFile } from 'node:child_process';
import { readdir, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const tsc = here('node_modules/typescript/bin/tsc');

const common = {
  bundle: true,
  minify: true,
  mangleProps: /^_/, // what begins with _ is nobody else's
  sourcemap: true,
  legalComments: 'none',
  logLevel: 'warning',
};
const esm = { ...common, format: 'esm', target: 'es2020' };

await Promise.all([rm(here('client/dist'), { recursive: true, force: true }), rm(here('react/dist'), { recursive: true, force: true })]);

await Promise.all([
  build({ ...esm, entryPoints: [here('client/src/index.ts')], outfile: here('client/dist/client.js') }),
  build({ ...esm, entryPoints: [here('client/src/outbox.ts')], outfile: here('client/dist/outbox.js'), external: ['@hubbub/client'] }),
  // For a <script> without modules: window.hubbub.connect(…).
  build({ ...common, format: 'iife', globalName: 'hubbub', target: 'es2018', entryPoints: [here('client/src/index.ts')], outfile: here('client/dist/client.iife.js') }),
  build({ ...esm, entryPoints: [here('react/src/index.ts')], outfile: here('react/dist/index.js'), external: ['react', '@hubbub/client'] }),
]);

const PUBLIC_TYPES = ['index.d.ts', 'types.d.ts', 'errors.d.ts', 'outbox.d.ts'];

// One after the other: the second package's types need the first one's.
for (const project of ['client', 'react']) {
  await promisify(execFile)(process.execPath, [tsc, '-p', here(project)]).catch((error) => {
    console.error(error.stdout);
    process.exit(1);
  });
  for (const file of await readdir(here(`${project}/dist`))) {
    if (file.endsWith('.d.ts') && !PUBLIC_TYPES.includes(file)) await rm(here(`${project}/dist/${file}`));
  }
}
