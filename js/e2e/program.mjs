// Builds and runs the example programs, as a user would: on a port of 127.0.0.1
// that is free, stopped by the process that was started and by nothing else.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, connect as dial } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const ANNOUNCED_WITHIN = 10_000;
const BUILT_WITHIN = 300_000; // a cold module and build cache

/** Returns {binary, remove()}. */
export async function build(name, from = 'examples') {
  const folder = await mkdtemp(path.join(tmpdir(), 'hubbub-e2e-'));
  const binary = path.join(folder, process.platform === 'win32' ? 'program.exe' : 'program');
  const command = ['build', '-o', binary, `./${from}/${name}`];
  await promisify(execFile)('go', command, { cwd: ROOT, timeout: BUILT_WITHIN });
  return { binary, remove: () => rm(folder, { recursive: true, force: true }) };
}

/** Starts a program on an address; resolves when it has printed its address. */
export async function start(binary, address) {
  const child = spawn(binary, ['-addr', address], { stdio: ['ignore', 'pipe', 'pipe'] });
  const program = new Program(child, address);
  await program.announced();
  return program;
}

/** An address that was free a moment ago. */
export async function freeAddress() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return `127.0.0.1:${port}`;
}

class Program {
  #child;
  #address;
  #exited;
  output = '';

  constructor(child, address) {
    this.#child = child;
    this.#address = address;
    this.#exited = new Promise((resolve) => {
      child.once('exit', resolve);
      child.once('error', (error) => {
        this.output += error.message;
        resolve();
      });
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => { this.output += text; });
    }
  }

  get url() {
    return `http://${this.#address}/`;
  }

  get socketUrl() {
    return `ws://${this.#address}/ws`;
  }

  async announced() {
    const ended = this.#exited.then(() => { throw new Error(`the program ended:\n${this.output}`); });
    const announced = until(() => this.output.includes(this.#address), 'the program prints its address', ANNOUNCED_WITHIN);
    await Promise.race([announced, ended]).catch(async (error) => {
      await this.stop('SIGKILL');
      throw error;
    });
  }

  async stop(signal = 'SIGTERM') {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal);
    await this.#exited;
  }
}

/** A line to an address that can be cut: {url, cut(), remove()}. New connections go through. */
export async function wire(address) {
  const [host, port] = address.split(':');
  const ends = new Set();
  const server = createServer((near) => {
    const far = dial({ host, port });
    for (const [end, other] of [[near, far], [far, near]]) {
      ends.add(end);
      end.on('error', () => {}).on('close', () => {
        ends.delete(end);
        other.destroy();
      });
      end.pipe(other);
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.unref(); // a test that fails does not remove it
  const cut = () => { for (const end of ends) end.destroy(); };
  const remove = async () => {
    cut();
    server.close();
    await once(server, 'close');
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, cut, remove };
}

/** Waits until check() returns something true, and returns that. A page may need two tries, 12 s, to come back. */
export async function until(check, what, within = 20_000) {
  const end = Date.now() + within;
  for (;;) {
    const result = await check();
    if (result) return result;
    if (Date.now() > end) throw new Error(`not within ${within} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
