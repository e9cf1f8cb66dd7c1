'use strict';
// Tells the master when a connection that it has handed to this worker ends, so that it knows how many each worker
// has open. Pointsman loads this file into Node workers by NODE_OPTIONS, before everything else;
// `load_report = false` turns it off.
//
// What it does: a connection comes as an internal message of Node's (`newconn`) with a handle. On this one handle
// object `close` and `reset`, by which every use of a connection ends, are overridden to note the message's number
// first. Once in a turn of the event loop the noted numbers go to the master, in a frame that is internal too:
// {"cmd":"NODE_POINTSMAN","gone":[1,2]}. Before all, {"cmd":"NODE_POINTSMAN","hello":1,"script":true} says that this will
// be so. If the master answers {"cmd":"NODE_POINTSMAN","interval":100}, nothing goes by the numbers, and they are sent
// once in so many milliseconds: a write for every connection would cost more than it tells. Its "ping":1 is answered by
// "pong":1 in such a frame: the event loop turns.
//
// What it must not do: be noticed by the program. No frame of it is a 'message', it keeps no program alive, and the
// variables that brought it here are put back, so that worker threads and child processes never see it. It works
// once, in the main thread of the process that the master talks to, and has no dependency. Node 16 to 24.

// Nor is it among the modules that the program has loaded.
delete require.cache[__filename];

const { env } = process;
// What Pointsman has put into NODE_OPTIONS, before what the user had there; only a worker of its own has this.
const inserted = env.POINTSMAN_PRELOAD;

if (inserted !== undefined && require('worker_threads').isMainThread) {
  delete env.POINTSMAN_PRELOAD;
  restoreOptions();
  if (process.connected && typeof process.send === 'function') start();
}

function restoreOptions() {
  const options = env.NODE_OPTIONS ?? '';
  const at = options.indexOf(inserted);
  if (options === inserted) {
    delete env.NODE_OPTIONS;
  } else if (at >= 0) {
    // A wrapper between the master and this process may have added options of its own, on either side.
    env.NODE_OPTIONS = options.slice(0, at) + options.slice(at + inserted.length).replace(/^ /, '');
  }
}

function start() {
  // The program may replace all of these.
  const { send } = process;
  const soon = setImmediate;
  const later = setTimeout;
  // When there are so many, they do not wait for the interval.
  const most = 4096;
  let gone = [];
  let timer;

  const tell = (what) => {
    // Without a callback, a failure would be an 'error' event, and the end of the program.
    const options = { swallowErrors: true };
    if (process.connected) send.call(process, { cmd: 'NODE_POINTSMAN', ...what }, undefined, options, () => {});
  };

  const report = () => {
    if (gone.length === 0) return;
    const noted = gone;
    gone = [];
    tell({ gone: noted });
  };

  const note = (seq) => {
    gone.push(seq);
    if (gone.length === 1 && timer) timer.refresh();
    else if (gone.length === 1 || gone.length === most) soon(report);
  };

  const hear = ({ interval, ping }) => {
    // Nobody waits for this timer, and it is not among what keeps the program alive.
    if (interval !== undefined) timer ??= later(report, interval).unref();
    if (ping !== undefined) tell({ pong: ping });
  };

  const watch = (handle, seq) => {
    const noteFirst = (method) => (callback) => {
      // From here on the handle is what it would have been: its methods are those of its class.
      delete handle.close;
      delete handle.reset;
      note(seq);
      return handle[method](callback);
    };
    // A Unix socket has no `reset`, and Node looks whether there is one.
    if (handle.reset) handle.reset = noteFirst('reset');
    handle.close = noteFirst('close');
  };

  // A worker that is to leave closes what is idle, but a client that asks again in time is served on and on. From now on
  // each response says that it is the last of its connection.
  const closeKept = () => {
    const { channel } = require('diagnostics_channel');
    channel('http.server.request.start').subscribe(({ response }) => {
      response.shouldKeepAlive = false;
    });
  };

  // Before Node's own listener, which passes the handle on. Listeners of this event keep no channel open.
  process.prependListener('internalMessage', (message, handle) => {
    if (message.cmd === 'NODE_CLUSTER' && message.act === 'disconnect') closeKept();
    if (handle && message.cmd === 'NODE_CLUSTER' && message.act === 'newconn') watch(handle, message.seq);
    else if (message.cmd === 'NODE_POINTSMAN') hear(message);
  });
  tell({ hello: 1, script: true });
}
