// Gates for what is published: sizes, package.json, types in every resolver.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

let failed = false;

const programs = [
  ['publint', ['publint/src/cli.js', '--strict']],
  ['attw', ['@arethetypeswrong/cli/dist/index.js', '--pack', '.', '--profile', 'esm-only', '--no-color', '--no-emoji', '--format', 'ascii']],
];
async function run(name, folder, [program, ...args]) {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [here(`node_modules/${program}`), ...args], { cwd: here(folder) });
    console.log(`ok: ${name} ${folder}`);
    return stdout;
  } catch ({ stdout, stderr }) {
    failed = true;
    console.log(`FAILED: ${name} ${folder}\n${stdout}${stderr}`);
  }
}

// Its limits are in .size-limit.json. 5 KB are 5,120 bytes. Trying again what the
// server puts off, and one line for what goes out, are what the last 512 bytes of the
// outbox are for.
const sizes = await run('size-limit', '.', ['size-limit/bin.js', '--json']);
for (const { name, size, sizeLimit } of JSON.parse(sizes ?? '[]')) console.log(`    ${name}: ${size} of ${sizeLimit} bytes, minified and gzipped`);

for (const folder of ['client', 'react']) {
  for (const [name, command] of programs) await run(name, folder, command);
}
process.exit(failed ? 1 : 0);
