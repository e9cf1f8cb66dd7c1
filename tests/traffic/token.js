'use strict';
// Answers each request with the token that it carries, so that a client knows its own answer from another's:
// GET /?token=WORD&ms=DELAY gets {"token":"WORD","pid":…,"count":…}, after the delay if one is given. `count` numbers the
// requests of this process.
// usage: PORT=n node token.js
//   BOOT_MS=n   listens so much later, as a program does that has something to load
//   NOTES=dir   writes each token down in DIR/PID before it is served
//   LEAVES=1    once it no longer listens, it keeps no connection. SIGINT closes its server, and it exits when it has
//               answered what it has: PM2's guide asks that of a program
// Never listens while there is a file named `broken` beside it.
const fs = require('fs');
const http = require('http');
const path = require('path');

const { PORT, BOOT_MS = 0, NOTES, LEAVES } = process.env;
const notes = NOTES && fs.openSync(path.join(NOTES, String(process.pid)), 'a');
let count = 0;

const server = http.createServer((request, response) => {
  const asked = new URL(request.url, 'http://test').searchParams;
  const token = asked.get('token');
  if (notes && token) fs.writeSync(notes, `${token}\n`);
  const body = JSON.stringify({ token, pid: process.pid, count: ++count });
  const answer = () => {
    // Node closes the server when the master tells it to disconnect, and leaves connections that are in use alone.
    if (LEAVES && !server.listening) response.setHeader('Connection', 'close');
    response.end(body);
  };
  setTimeout(answer, Number(asked.get('ms')));
});

if (LEAVES) process.once('SIGINT', () => server.close(() => process.exit(0)));
if (fs.existsSync(path.join(__dirname, 'broken'))) setInterval(() => {}, 1000);
else setTimeout(() => server.listen(Number(PORT), '127.0.0.1'), Number(BOOT_MS));
