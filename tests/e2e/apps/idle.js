'use strict';
// A Node program that never listens.
setInterval(() => {}, 1000);
