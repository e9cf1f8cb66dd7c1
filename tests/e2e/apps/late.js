'use strict';
// A server that listens when it is told to by SIGUSR2, and not before.
const server = require('http').createServer((request, response) => response.end(JSON.stringify({ pid: process.pid })));
const waiting = setInterval(() => {}, 1000);
process.once('SIGUSR2', () => {
  clearInterval(waiting);
  server.listen(process.env.PORT);
});
