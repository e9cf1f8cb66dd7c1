'use strict';
// Answers with what a program can see of how it was started, and what its threads and child processes see.
// usage: node inside.js [PORT]
const { execFile, fork } = require('child_process');
const http = require('http');
const { Worker, isMainThread, parentPort } = require('worker_threads');

const loaded = () => Object.keys(require.cache).filter((name) => name !== __filename);
// The addresses are others in each run.
const ours = () =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(NODE|POINTSMAN)_(?!ADDRESSES)/.test(name)));
const here = () => ({ names: Object.keys(process.env).sort(), environment: ours(), loaded: loaded(), execArgv: process.execArgv });
const first = (source) => new Promise((resolve, reject) => source.on('message', resolve).on('error', reject));

async function everywhere() {
  const counts = ['message', 'disconnect', 'exit', 'uncaughtException', 'newListener'].map((name) => process.listenerCount(name));
  const timers = process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
  const thread = (options) => first(new Worker(__filename, options));
  return {
    pid: process.pid,
    here: here(),
    counts,
    timers,
    handle: process.channel.constructor.name,
    thread: await thread({}),
    threadWithOptions: await thread({ execArgv: [], env: { ...process.env } }),
    forked: await first(fork(__filename, ['child'])),
    spawned: await new Promise((resolve, reject) => {
      const show = 'console.log(JSON.stringify([process.env.NODE_OPTIONS, process.env.POINTSMAN_PRELOAD]))';
      execFile(process.execPath, ['-e', show], (error, text) => (error ? reject(error) : resolve(JSON.parse(text))));
    }),
  };
}

if (!isMainThread) {
  parentPort.postMessage(here());
} else if (process.argv[2] === 'child') {
  process.send(here());
} else {
  http
    .createServer(async (request, response) => {
      const answer = request.url === '/' ? { pid: process.pid, slot: process.env.POINTSMAN_SLOT } : await everywhere();
      response.end(JSON.stringify(answer));
    })
    .listen(process.env.PORT);
}
