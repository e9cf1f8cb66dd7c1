'use strict';
// The usual form of a program that forks its own workers.
// usage: node cluster.js
const cluster = require('cluster');
const http = require('http');
const os = require('os');

if (cluster.isPrimary) {
  console.log('this is the primary half');
  for (const _ of os.cpus()) cluster.fork();
} else {
  http
    .createServer((request, response) => {
      const worker = cluster.worker.id;
      response.end(JSON.stringify({ pid: process.pid, worker, slot: process.env.POINTSMAN_SLOT }));
    })
    .listen(process.env.PORT);
}
