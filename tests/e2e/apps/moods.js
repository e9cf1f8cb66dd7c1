'use strict';
// A server with moods, to be supervised. What it does besides is said by MOOD:
//   late     listens at once, and says that it is ready when a file named by GATE is there
//   dies     the same, but ends before it has said so
//   hungry   takes 30 MB more with each request
//   polite   says what it is told to leave by, and leaves
//   dreams   a request for /dream keeps its event loop busy for ever
//   chatty   writes a line for each request
//   echoes   sends back each message
// It answers with its process id, its slot, VERSION and how many requests it has had.
const http = require('http');
const fs = require('fs');

const { MOOD: mood, GATE: gate, VERSION: version } = process.env;
const eaten = [];
let requests = 0;

http
  .createServer((request, response) => {
    requests += 1;
    if (mood === 'hungry') eaten.push(Buffer.alloc(30 << 20, 1));
    if (mood === 'chatty') console.log(`request ${request.url}`);
    if (mood === 'dreams' && request.url === '/dream') for (;;);
    const slot = Number(process.env.POINTSMAN_SLOT);
    response.end(JSON.stringify({ pid: process.pid, slot, version, requests }));
  })
  .listen(process.env.PORT, '127.0.0.1');

if (mood === 'late' || mood === 'dies') {
  const look = setInterval(() => {
    if (!fs.existsSync(gate)) return;
    clearInterval(look);
    if (mood === 'dies') process.exit(7);
    process.send('ready');
  }, 10);
}
if (mood === 'echoes') process.on('message', (message) => process.send(message));
if (mood === 'polite') {
  const leave = (why) => {
    console.log(`leaves by ${why}`);
    process.exit(0);
  };
  process.on('message', leave);
  process.on('SIGINT', leave);
}
