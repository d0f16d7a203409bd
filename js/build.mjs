// Builds both packages into their dist folders, and the script that the hub
// serves. With --check that one is only compared: it is in the repository, and
// has to be what its sources say.

import { execFile } from 'node:child_process';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
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
// A global name of esbuild's making costs 200 bytes more.
const SCRIPT = "import { connect, HubbubError } from './index.ts'; globalThis.hubbub = { connect, HubbubError };";
const esm = { ...common, format: 'esm', target: 'es2020' };

await Promise.all([rm(here('client/dist'), { recursive: true, force: true }), rm(here('react/dist'), { recursive: true, force: true })]);

await Promise.all([
  build({ ...esm, entryPoints: [here('client/src/index.ts')], outfile: here('client/dist/client.js') }),
  build({ ...esm, entryPoints: [here('client/src/outbox.ts')], outfile: here('client/dist/outbox.js'), external: ['@hubbub/client'] }),
  // For a <script> without modules: window.hubbub.connect(…).
  build({ ...common, format: 'iife', target: 'es2020', stdin: { contents: SCRIPT, sourcefile: 'script.ts', resolveDir: here('client/src') }, outfile: here('client/dist/client.iife.js') }),
  build({ ...esm, entryPoints: [here('react/src/index.ts')], outfile: here('react/dist/index.js'), external: ['react', '@hubbub/client'] }),
]);

const script = here('../hub/hubbub.js');
const { outputFiles } = await build({
  ...esm,
  entryPoints: [here('client/src/index.ts')],
  sourcemap: false,
  banner: { js: '// @hubbub/client, built from js/client by npm run build.' },
  write: false,
});
if (!process.argv.includes('--check')) await writeFile(script, outputFiles[0].contents);
else if (await readFile(script, 'utf8') !== outputFiles[0].text) {
  console.error('hub/hubbub.js is not what js/client/src says: run npm run build, and commit it');
  process.exitCode = 1;
}

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
