'use strict';
// Remembers each request that has reached it, by the client it comes from, and answers "ok"; asked as the host `test`, it
// tells all.
const http = require('http');

const seen = {};

const server = http.createServer((request, response) => {
  const body = [];
  request.on('data', (chunk) => body.push(chunk));
  request.on('end', () => {
    if (request.headers.host === 'test') {
      response.end(JSON.stringify({ pid: process.pid, seen }));
      return;
    }
    const client = request.headers['x-forwarded-for'];
    (seen[client] ??= []).push({
      line: [request.method, request.url, `HTTP/${request.httpVersion}`],
      fields: request.rawHeaders,
      body: Buffer.concat(body).toString(),
      trailers: request.rawTrailers,
    });
    response.end('ok');
  });
});

server.listen(process.env.PORT);
