'use strict';
// What streams do: events one by one, trailers, bodies of any size, early answers, interim ones.
const http = require('http');
const crypto = require('crypto');

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://test');
  switch (url.pathname) {
    case '/events': {
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
      response.flushHeaders();
      let number = 0;
      // The next event is sent when this process is told that the last one has arrived.
      waiting = () => response.write(`id: ${number}\ndata: event ${number++}\n\n`);
      response.on('close', () => { closed += 1; });
      break;
    }
    case '/next':
      waiting();
      response.end();
      break;
    case '/closed':
      response.end(String(closed));
      break;
    case '/trailers':
      response.writeHead(200, { Trailer: 'X-Sum' });
      response.write('first');
      response.write('second');
      response.addTrailers({ 'X-Sum': 'abc' });
      response.end();
      break;
    case '/hash': {
      const hash = crypto.createHash('sha256');
      request.on('data', (part) => hash.update(part));
      request.on('end', () => response.end(hash.digest('hex')));
      break;
    }
    case '/echo':
      request.pipe(response);
      break;
    case '/early':
      response.writeHead(403, { 'Content-Length': 2 });
      response.end('no');
      break;
    case '/hints':
      response.writeEarlyHints({ link: '</a.css>; rel=preload' }, () => response.end('hinted'));
      break;
    default:
      response.end(`pid ${process.pid}`);
  }
});
let waiting = () => {};
let closed = 0;

server.on('checkContinue', (request, response) => {
  if (request.url === '/refuses') {
    response.writeHead(417, { Connection: 'close' });
    response.end();
    return;
  }
  response.writeContinue();
  server.emit('request', request, response);
});

server.listen(Number(process.env.PORT));
