'use strict';
// Sends every message back: as it came, and as the text that JSON makes of it. Asked for "kinds", it sends values that
// JSON cannot say, each after the text that JSON.stringify makes of it. Asked for "deep with a socket", it sends one, and
// then that it is over.
const http = require('http');
const net = require('net');

const shared = { once: 1 };
const cyclic = {};
cyclic.self = cyclic;

const kinds = {
  undefined: { a: undefined, b: [undefined, , 1] },
  numbers: [NaN, Infinity, -Infinity, -0, 5e-324, 1e300, 2 ** 31, -(2 ** 31), 2 ** 53 - 1],
  dates: [new Date(0), new Date(-1), new Date(NaN), new Date(8.64e15), new Date(Date.UTC(2000, 1, 29))],
  buffer: { data: Buffer.from('hello'), none: Buffer.alloc(0) },
  views: [new Uint8Array([1, 2]), new Int16Array([-1]), new Float64Array([0.5]), new DataView(new ArrayBuffer(2))],
  collections: [new Map([[{}, { deep: [1] }]]), new Set([1, 'two']), new ArrayBuffer(3), /a.b/g],
  errors: [new Error('plain'), new TypeError('typed', { cause: new Error('cause') })],
  boxed: [new Number(1), new String('s'), new Boolean(false)],
  shared: [shared, { again: shared }, shared],
  texts: ['', 'é', '€', '😀', '\u0000"\\', { '€': 1, é: 2, 7: 3 }],
  sparse: Object.assign([], { 3: 'three', length: 6 }),
  class: new (class { constructor() { this.field = 1; } })(),
};

function sendDeepWithSocket() {
  let deep = null;
  for (let level = 0; level < 200; level++) deep = [deep];
  const server = net.createServer(() => {}).listen(0, '127.0.0.1');
  server.on('listening', () => {
    const socket = net.connect(server.address().port, '127.0.0.1', () => {
      process.send(deep, socket, () => process.send('over'));
      server.close();
    });
  });
}

process.on('message', (message) => {
  if (message === 'deep with a socket') return sendDeepWithSocket();
  if (message !== 'kinds') return process.send({ text: JSON.stringify(message), same: message });
  for (const [name, value] of Object.entries(kinds)) process.send({ name, text: JSON.stringify(value), value });
  process.send({ name: 'bigint', text: '["-5"]', value: [-5n] });
  for (const value of [{ cyclic }, [2n ** 200n], '\ud800']) process.send(value);
  process.send('over');
});

http.createServer((request, response) => response.end('served')).listen(process.env.PORT);
