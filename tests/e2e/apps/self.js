'use strict';
// Answers with what a process can see of itself.
const fs = require('fs');
const http = require('http');
const os = require('os');

const status = (field) => new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(fs.readFileSync('/proc/self/status', 'utf8'))[1];

http
  .createServer((request, response) => {
    const about = {
      pid: process.pid,
      slot: process.env.POINTSMAN_SLOT,
      uid: [process.getuid(), process.geteuid()],
      gid: [process.getgid(), process.getegid()],
      groups: process.getgroups(),
      umask: process.umask(),
      nice: os.getPriority(),
      cpus: status('Cpus_allowed_list'),
      capabilities: [status('CapPrm'), status('CapEff'), status('CapAmb')],
      cwd: process.cwd(),
      home: os.homedir(),
      env: process.env,
      limits: fs.readFileSync('/proc/self/limits', 'utf8'),
    };
    response.end(JSON.stringify(about));
  })
  .listen(process.env.PORT);
