'use strict';
// Two servers in one program: on PORT, and on a port that the system chooses. Answers are numbered over both.
const http = require('http');

let answers = 0;
const handler = (request, response) => {
  const { localPort: port } = request.socket;
  const { POINTSMAN_SLOT: slot } = process.env;
  answers += 1;
  response.end(JSON.stringify({ pid: process.pid, slot, port, number: answers, second: second.address().port }));
};

const second = http.createServer(handler).listen(0, '127.0.0.1', () => {
  http.createServer(handler).listen(Number(process.env.PORT));
});
