//! When a frame may follow the ones before it, so that Node does not take it for something else.
//!
//! Node reads up to 64 KiB at a time and remembers one descriptor. The kernel ends a read where a descriptor was sent,
//! but joins to it the plain bytes before. If those make a handle frame straddle the end of a read, its descriptor comes
//! with the first part, and the next read may bring the next descriptor before the frame is whole: the two are mixed up.
//! So a handle frame that ends too far behind the last one is a barrier: nothing with a descriptor follows it until the
//! worker has acknowledged it. (Node 16 to 24; measured.)
//!
//! In the advanced form a frame begins with its length, and Node 16, 18 and up to 22.11 misread it if its four bytes
//! straddle the end of a read. As long as less than a read's worth waits to be read, a frame that is sent now begins
//! within the next read. So none is begun while more waits: the kernel is asked, now and then, how much that is. What
//! is left is a frame that is sent while a read is under way whose last bytes are its first: nobody can see that.

use crate::protocol::serialization::Serialization;

/// What was sent on one channel.
#[derive(Debug)]
pub(super) struct Flow {
    serialization: Serialization,
    /// Plain bytes sent since the end of the last handle frame.
    run: usize,
    /// Handle frames that are not acknowledged.
    unacked: usize,
    pub(super) barrier: bool,
    /// Bytes that wait to be read, at most.
    unread: usize,
}

/// Where a frame becomes a barrier, in bytes: well within Node's 64 KiB.
pub(super) const BARRIER: usize = 16 << 10;

/// How much may wait to be read before a frame that begins with a length, in bytes. Less than a read of 64 KiB, and
/// less than what the kernel tells of room at, a quarter of a socket's memory.
pub(super) const UNREAD: usize = 48 << 10;

impl Flow {
    pub(super) fn new(serialization: Serialization) -> Self {
        Self { serialization, run: 0, unacked: 0, barrier: false, unread: 0 }
    }

    /// Whether a frame may be begun now. `unread` asks the kernel.
    pub(super) fn may_begin(&mut self, unread: impl FnOnce() -> usize) -> bool {
        match self.serialization {
            Serialization::Json => true,
            Serialization::Advanced => {
                if self.unread > UNREAD {
                    self.unread = self.unread.min(unread());
                }
                self.unread <= UNREAD
            }
        }
    }

    /// The kernel has taken so many bytes.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.unread = self.unread.saturating_add(bytes);
    }

    pub(super) fn sent_plain(&mut self, bytes: usize) {
        self.run = self.run.saturating_add(bytes);
    }

    pub(super) fn sent_handle(&mut self, bytes: usize) {
        self.barrier = self.run.saturating_add(bytes) > BARRIER;
        self.run = 0;
        self.unacked += 1;
    }

    /// Says whether a barrier has opened.
    pub(super) fn acknowledged(&mut self) -> bool {
        self.unacked = self.unacked.saturating_sub(1);
        // Acknowledgements come in order, so the last one is the barrier's.
        self.unacked == 0 && std::mem::take(&mut self.barrier)
    }
}
