'use strict';
// What most tutorials end with: a port, or what the platform says in its place.
require('http')
  .createServer((request, response) => response.end(JSON.stringify({ pid: process.pid, port: process.env.PORT })))
  .listen(process.env.PORT || 3000);
