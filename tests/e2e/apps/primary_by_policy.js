'use strict';
// Node's own cluster primary over workers that are no Node programs. It says what it hears of them, a JSON object in a
// line, and has them leave when its standard input ends.
// usage: node primary_by_policy.js rr|none COUNT ADDRESSES PROGRAM ARG
const cluster = require('cluster');

const [policy, count, addresses, program, arg] = process.argv.slice(2);
cluster.schedulingPolicy = policy === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;
cluster.setupPrimary({ exec: arg, args: [], execArgv: [] });
const say = (object) => console.log(JSON.stringify(object));
cluster.on('listening', (worker, { address, port, addressType }) => {
  say({ event: 'listening', worker: worker.id, address, port, addressType });
});
cluster.on('exit', (worker, code, signal) => {
  say({ event: 'exit', worker: worker.id, code, signal, agreed: worker.exitedAfterDisconnect });
});
process.execPath = program;
for (let number = 0; number < Number(count); number++) cluster.fork({ POINTSMAN_ADDRESSES: addresses });
process.stdin.on('end', () => cluster.disconnect()).resume();
