'use strict';
// Talks to a TLS server COUNT times, each time but the first with the session of the time before. Prints who answered
// and whether the session was resumed.
// usage: node resume.js PORT VERSION COUNT
const tls = require('tls');

const [port, version, count] = process.argv.slice(2);

const talk = (session) =>
  new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, session, rejectUnauthorized: false, minVersion: version, maxVersion: version };
    const socket = tls.connect(options, () => socket.write('GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n'));
    let [text, next] = ['', null];
    socket.on('session', (fresh) => (next = fresh));
    socket.on('error', reject);
    socket.setEncoding('utf8').on('data', (data) => (text += data));
    socket.on('end', () => {
      const reused = socket.isSessionReused();
      const { pid } = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1));
      // Of TLS 1.2 a resumed one is not told anew.
      resolve({ pid, reused, session: next ?? session });
    });
  });

(async () => {
  const talks = [];
  for (let session; talks.length < Number(count); ) {
    const { session: next, ...result } = await talk(session);
    talks.push(result);
    session = next;
  }
  console.log(JSON.stringify(talks));
})();
