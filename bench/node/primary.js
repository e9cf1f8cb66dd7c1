'use strict';
// Node's own cluster primary and nothing else: the peer of Pointsman's master.
// usage: PORT=n node primary.js WORKERS [none]
const cluster = require('cluster');
const { join } = require('path');

cluster.schedulingPolicy = process.argv[3] === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;
cluster.setupPrimary({ exec: join(__dirname, 'worker.js'), args: [] });
for (let i = 0; i < Number(process.argv[2]); i++) cluster.fork();
// A worker that ends spoils the figures: end too, which the runner reports.
cluster.on('exit', (worker, code, signal) => {
  console.error(`worker ${worker.process.pid} ended: ${signal ?? code}`);
  process.exit(1);
});
