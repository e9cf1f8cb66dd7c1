'use strict';
// Answers with what the master has told the script, which no other program listens to.
const http = require('http');

const told = [];
process.on('internalMessage', (message) => {
  if (message.cmd === 'NODE_POINTSMAN') told.push(message);
});
http
  .createServer((request, response) => response.end(JSON.stringify({ pid: process.pid, told })))
  .listen(process.env.PORT);
