// A WebSocket server that echoes, by the package `ws`, beside an ordinary answer that says who it is.
'use strict';
const http = require('http');
const { WebSocketServer } = require(process.env.WS_PACKAGE);

const server = http.createServer((request, response) => {
  response.end(JSON.stringify({ pid: process.pid, slot: Number(process.env.POINTSMAN_SLOT) }));
});
new WebSocketServer({ server }).on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.listen(process.env.PORT);
