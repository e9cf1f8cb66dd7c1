//! A worker over real sockets that its master shares.
