'use strict';
// A worker that listens where it is told to: POST /listen {"port": 0} and the like. Every server answers who it is.
// usage: node addresses.js [WHERE]     the first server's options in JSON; without, it listens on PORT
const dgram = require('dgram');
const fs = require('fs');
const http = require('http');
const https = require('https');

const opened = [];
const about = (server) => ({ pid: process.pid, slot: process.env.POINTSMAN_SLOT, address: server.address() });

// Has it listen or bind, and tells how that went.
const open = (server, listen) =>
  new Promise((resolve) => {
    server.once('error', ({ code, syscall }) => resolve({ code, syscall }));
    listen(() => resolve({ id: opened.push(server) - 1, address: server.address() }));
  });

const create = (tls) => {
  const answer = (request, response) => response.end(JSON.stringify(about(request.socket.server)));
  return tls ? https.createServer({ ...tls, key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') }, answer) : http.createServer(answer);
};

const actions = {
  '/': () => ({}),
  '/listen': ({ tls, ...where }) => {
    const server = create(tls);
    return open(server, (done) => server.listen(where, done));
  },
  '/bind': ({ type, reuseAddr, reusePort, ipv6Only, ...where }) => {
    const socket = dgram.createSocket({ type, reuseAddr, reusePort, ipv6Only });
    socket.heard = 0;
    socket.on('message', (message, from) => {
      socket.heard += 1;
      socket.send(`${process.pid} ${message}`, from.port, from.address);
    });
    return open(socket, (done) => socket.bind(where, done));
  },
  '/heard': ({ id }) => ({ heard: opened[id].heard }),
  '/close': ({ id }) => new Promise((resolve) => opened[id].close(() => resolve({ closed: true }))),
};

const server = http.createServer(async (request, response) => {
  const chunks = await request.toArray();
  const told = chunks.length ? JSON.parse(Buffer.concat(chunks)) : {};
  const result = await actions[request.url](told);
  response.end(JSON.stringify({ ...about(server), ...result }));
});
server.listen(process.argv[2] ? JSON.parse(process.argv[2]) : { port: Number(process.env.PORT) });
