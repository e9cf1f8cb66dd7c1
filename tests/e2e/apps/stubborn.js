'use strict';
// A worker that hears SIGTERM and does not mind it, and that keeps itself alive when its channel is closed.
const http = require('http');

process.on('SIGTERM', () => console.error('stubborn.js: SIGTERM is ignored'));
setInterval(() => {}, 1000);
http
  .createServer((request, response) => response.end(JSON.stringify({ pid: process.pid })))
  .listen(process.env.PORT);
