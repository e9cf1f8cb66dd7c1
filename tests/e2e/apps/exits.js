'use strict';
// A program that cannot start.
console.error('exits.js: no database');
process.exit(3);
