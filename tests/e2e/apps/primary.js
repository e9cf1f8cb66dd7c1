'use strict';
// Node's own primary over workers that are another program: what happens to them, one JSON text per line.
// usage: node primary.js FORM WORKERS PROGRAM ARGS...; a line on standard input has the workers leave.
const cluster = require('cluster');

const [serialization, workers, program, exec, ...args] = process.argv.slice(2);
const tell = (event) => console.log(JSON.stringify(event));

cluster.setupPrimary({ exec, args, execArgv: [], serialization });
// Which program runs a worker.
process.execPath = program;
cluster.on('online', (worker) => {
  // To be ignored, whatever is in it.
  worker.send({ hello: [1, 'é', '€'], nothing: undefined });
  if (serialization === 'advanced') worker.send(new Map([[{}, new Date(0)]]));
  tell({ event: 'online', id: worker.id });
});
cluster.on('listening', (worker, { address, port, addressType }) => {
  tell({ event: 'listening', id: worker.id, address, port, addressType });
});
cluster.on('message', (worker, message) => tell({ event: 'message', message }));
cluster.on('exit', (worker, code, signal) => {
  tell({ event: 'exit', code, signal, agreed: worker.exitedAfterDisconnect });
});
for (let i = 0; i < Number(workers); i++) cluster.fork();
process.stdin.once('data', () => cluster.disconnect(() => tell({ event: 'over' })));
process.stdin.on('end', () => process.exit());
