'use strict';
// Sends back what comes on each connection, to its end, and counts the messages { number, fill } of its primary:
// asked with { tell: true } it tells how many there were, their bytes, and how many did not have the next number.
const net = require('net');

const seen = { messages: 0, bytes: 0, disorder: 0 };

process.on('message', ({ tell, number, fill }) => {
  if (tell) {
    process.send(seen);
    return;
  }
  if (number !== seen.messages || /[^x]/.test(fill)) seen.disorder += 1;
  seen.messages += 1;
  seen.bytes += fill.length;
});

const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => socket.destroy());
  socket.pipe(socket);
});
server.listen(Number(process.env.PORT));
