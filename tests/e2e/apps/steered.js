'use strict';
// A server to be steered. What is said to it on its channel, it prints. Files in the directory STATE say what becomes of
// workers that start: `broken` has them say what is in it and end with 3, and `slow` has them wait until it is gone before
// they listen.
const fs = require('fs');
const http = require('http');
const path = require('path');

const is = (name) => fs.existsSync(path.join(process.env.STATE, name));
if (is('broken')) {
  const words = fs.readFileSync(path.join(process.env.STATE, 'broken'), 'utf8');
  if (words) console.error(words);
  process.exit(3);
}

process.on('message', (message) => console.log(`got ${JSON.stringify(message)}`));

// Also while it waits.
process.on('disconnect', () => process.exit(0));

const server = http.createServer((request, response) => {
  const [word] = process.argv.slice(2);
  response.setHeader('Connection', 'close');
  response.end(JSON.stringify({ pid: process.pid, colour: process.env.COLOUR, word, cwd: process.cwd() }));
});

const listen = () => {
  if (is('slow')) return setTimeout(listen, 10);
  server.listen(process.env.PORT, '127.0.0.1', () => console.log(`listening, ${process.env.COLOUR}`));
};
listen();
