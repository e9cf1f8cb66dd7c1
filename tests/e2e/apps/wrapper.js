'use strict';
// What `npm start` is to a master: a Node process that only starts the real program and waits for it.
const { spawn } = require('child_process');
const path = require('path');

const program = path.join(__dirname, process.argv[2]);
const child = spawn(process.execPath, [program, ...process.argv.slice(3)], { stdio: 'inherit' });
child.on('exit', (code) => process.exit(code ?? 1));
