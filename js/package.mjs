// Gates for what is published: sizes, package.json, types in every resolver.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const KB = 1024;

const GATES = [
  ['@hubbub/client', 5 * KB, ['client/dist/client.js']],
  ['@hubbub/client, script', 5 * KB, ['client/dist/client.iife.js']],
  // Trying again what the server puts off is what the last 0.25 KB are for.
  ['@hubbub/client with /outbox', 6.75 * KB, ['client/dist/client.js', 'client/dist/outbox.js']],
  ['@hubbub/client with @hubbub/react', 6 * KB, ['client/dist/client.js', 'react/dist/index.js']],
];

let failed = false;
for (const [name, most, files] of GATES) {
  const size = files.reduce((sum, file) => sum + gzipSync(readFileSync(here(file)), { level: 9 }).length, 0);
  const ok = size <= most;
  failed ||= !ok;
  console.log(`${ok ? 'ok' : 'TOO BIG'}: ${name}: ${size} of ${most} bytes, minified and gzipped`);
}

const programs = [
  ['publint', ['publint/src/cli.js', '--strict']],
  ['attw', ['@arethetypeswrong/cli/dist/index.js', '--pack', '.', '--profile', 'esm-only', '--no-color', '--no-emoji', '--format', 'ascii']],
];
for (const folder of ['client', 'react']) {
  for (const [name, [program, ...args]] of programs) {
    try {
      await promisify(execFile)(process.execPath, [here(`node_modules/${program}`), ...args], { cwd: here(folder) });
      console.log(`ok: ${name} ${folder}`);
    } catch ({ stdout, stderr }) {
      failed = true;
      console.log(`FAILED: ${name} ${folder}\n${stdout}${stderr}`);
    }
  }
}
process.exit(failed ? 1 : 0);
