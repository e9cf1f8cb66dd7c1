'use strict';
// The worker that stands behind every front of the hand-over bench. It never mentions `cluster`, answers `/` with a
// small fixed body, and `/pid` with its process id, by which the runner knows that all workers are up.
const { createServer } = require('http');

createServer((request, response) => {
  response.end(request.url === '/pid' ? String(process.pid) : 'Hello from a worker\n');
}).listen(Number(process.env.PORT), '127.0.0.1');
