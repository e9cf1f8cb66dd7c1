'use strict';
// A cluster worker that does what it is asked to: leaves in each way that there is, and listens in odd ways.
// usage: node worker.js [PORT]
const cluster = require('cluster');
const http = require('http');

const port = Number(process.argv[2] ?? process.env.PORT);
let listens = 0;
const about = () => ({ pid: process.pid, worker: cluster.worker.id, slot: process.env.POINTSMAN_SLOT, listens });

// Listens, and tells how that went.
const tryListen = (...where) =>
  new Promise((resolve) => {
    const server = http.createServer((request, response) => response.end(JSON.stringify(about())));
    server.on('error', (error) => resolve({ code: error.code, syscall: error.syscall }));
    server.listen(...where, () => resolve({ address: server.address(), server }));
  });

const later = (leave) => () => {
  setImmediate(leave);
  return { leaving: true };
};

const actions = {
  '/': () => ({}),
  '/disconnect': later(() => cluster.worker.disconnect()),
  '/kill': later(() => cluster.worker.kill()),
  '/process-disconnect': later(() => process.disconnect()),
  '/exit': later(() => process.exit(3)),
  '/crash': later(() => {
    throw new Error('as asked');
  }),
  '/send': () => ({ sent: process.send({ hello: 'master' }) }),
  '/slow': () => new Promise((resolve) => setTimeout(resolve, 1000, { slow: true })),
  // A second server on the port of the first.
  '/again': async () => {
    const { server: _, ...result } = await tryListen(port);
    return result;
  },
  // A server on a port of the system's choice; /close-other ends it.
  '/other': async () => {
    const { server, ...result } = await tryListen(0, '127.0.0.1');
    other = server;
    return result;
  },
  '/close-other': () => new Promise((resolve) => other.close(() => resolve({ closed: true }))),
  // Closes the main server, and listens again on the same port.
  '/relisten': async () => {
    setImmediate(() => server.close(() => server.listen(port)));
    return {};
  },
};

let other;
const server = http.createServer(async (request, response) => {
  const action = actions[request.url];
  response.statusCode = action ? 200 : 404;
  const result = await action?.();
  if (request.url === '/relisten') response.setHeader('Connection', 'close');
  response.end(JSON.stringify({ ...about(), ...result }));
});
server.on('listening', () => (listens += 1));
server.listen(port);
