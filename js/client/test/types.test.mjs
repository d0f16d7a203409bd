// The type tests, as tests: they pass if they compile.

import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const JS = fileURLToPath(new URL('../../', import.meta.url));

for (const [name, project] of [['T10: what an application writes type-checks, and its mistakes do not', 'client/test'], ['the hooks type-check', 'react/test']]) {
  test(name, async () => {
    await promisify(execFile)(process.execPath, [`${JS}node_modules/typescript/bin/tsc`, '-p', JS + project])
      .catch((error) => { throw new Error(error.stdout || error.message); });
  });
}
