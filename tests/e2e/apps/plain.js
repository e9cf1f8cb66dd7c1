'use strict';
// A plain HTTP server, as in any tutorial: it never mentions `cluster`.
// usage: node plain.js [PORT [HOST]]
const http = require('http');

const port = Number(process.argv[2] ?? process.env.PORT ?? 8000);
const host = process.argv[3];

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://test');
  const answer = (what) => {
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ pid: process.pid, ...what }));
  };
  switch (url.pathname) {
    case '/slow':
      setTimeout(answer, Number(url.searchParams.get('ms')), { slow: true });
      break;
    case '/env':
      answer({ env: process.env });
      break;
    case '/address':
      answer({ address: server.address() });
      break;
    case '/token':
      answer({ token: url.searchParams.get('is') });
      break;
    default:
      answer({ slot: process.env.POINTSMAN_SLOT });
  }
});

server.listen(port, host);
