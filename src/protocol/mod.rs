//! Bytes <-> messages: the protocol that Node's `child_process` and `cluster` speak over a worker's channel.
//!
//! `frame` cuts a byte stream into frames, `message` turns a frame into a [`message::Message`] and `encode` back, in the
//! form that [`serialization::Serialization`] says: lines of JSON, or V8's format (`v8`). `source` and `writer` are what
//! the forms have in common, for reading and for writing. What enters comes from a program we do not trust; what leaves
//! was understood completely or is an error that costs the sender its channel. This folder must not know who sends, when, or over which descriptor.
//!
//! Source: behaviour of Node 16 to 24; the same in all of them for everything here.

pub mod einhorn;
mod encode;
pub mod frame;
pub mod listen;
pub mod message;
mod own;
pub mod sd_notify;
pub mod serialization;
mod sockets;
mod source;
pub mod v8;
mod writer;
