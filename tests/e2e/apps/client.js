'use strict';
// Opens COUNT connections of a kind, each with an answered request, and keeps them until its standard input ends.
// usage: node client.js https|http2|http2-tls PORT COUNT
const http2 = require('http2');
const https = require('https');

const [kind, port, count] = process.argv.slice(2);
const tls = {
  ciphers: 'PSK',
  maxVersion: 'TLSv1.2',
  checkServerIdentity: () => undefined,
  pskCallback: () => ({ psk: Buffer.alloc(32, 'key'), identity: 'test' }),
};

const kinds = {
  https: () => {
    const agent = new https.Agent({ ...tls, keepAlive: true });
    const answered = new Promise((resolve, reject) => {
      const request = https.get({ host: '127.0.0.1', port, agent, ...tls }, (response) => response.resume().on('end', resolve));
      request.on('error', reject);
    });
    return { answered, close: () => agent.destroy() };
  },
  http2: (scheme = 'http') => {
    const session = http2.connect(`${scheme}://127.0.0.1:${port}`, tls);
    const answered = new Promise((resolve, reject) => {
      session.on('error', reject);
      session.request({ ':path': '/' }).on('error', reject).on('end', resolve).resume();
    });
    return { answered, close: () => session.close() };
  },
  'http2-tls': () => kinds.http2('https'),
};

const connections = Array.from({ length: Number(count) }, () => kinds[kind]());
Promise.all(connections.map(({ answered }) => answered)).then(() => {
  console.log('open');
  process.stdin.resume().on('end', () => connections.forEach(({ close }) => close()));
});
