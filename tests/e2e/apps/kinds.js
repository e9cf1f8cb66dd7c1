'use strict';
// A server of one kind, for tests that count its connections. The TLS ones use a shared key and so no certificate.
// usage: PORT=8000 node kinds.js KIND
const http = require('http');
const http2 = require('http2');
const https = require('https');
const net = require('net');

const tls = { ciphers: 'PSK', maxVersion: 'TLSv1.2', pskCallback: () => Buffer.alloc(32, 'key') };
const answer = (request, response) => response.end('answered');

const kinds = {
  http: () => http.createServer(answer),
  https: () => https.createServer(tls, answer),
  http2: () => http2.createServer(answer),
  'http2-tls': () => http2.createSecureServer(tls, answer),
  upgrade: () =>
    http.createServer(answer).on('upgrade', (request, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n');
      socket.on('error', () => {}).pipe(socket);
    }),
  echo: () => net.createServer((socket) => socket.on('error', () => {}).pipe(socket)),
  reset: () => net.createServer((socket) => socket.on('data', () => socket.resetAndDestroy())),
  give: () => net.createServer({ pauseOnConnect: true }, (socket) => process.send('yours', socket)),
  one: () => Object.assign(kinds.echo(), { maxConnections: 1 }),
  // Ends the process if it comes to see a report on its way out.
  patched: () => {
    const { send } = process;
    process.send = (message, ...rest) => (message.cmd === 'NODE_POINTSMAN' ? process.exit(9) : send.call(process, message, ...rest));
    global.setImmediate = global.setTimeout = () => process.exit(9);
    return kinds.echo();
  },
  // Closes its server and keeps nothing else open.
  closes: () => net.createServer().on('listening', function () {
    this.close();
  }),
};

// `closes` runs without a master to listen for it.
kinds[process.argv[2]]().listen(process.argv[2] === 'closes' ? 0 : process.env.PORT);
