//! Keeps a frame with a descriptor from straddling two of the worker's reads while another descriptor is behind it.
//!
//! Node reads up to 64 KiB at a time and remembers one descriptor. The kernel ends a read where a descriptor was sent,
//! but joins to it the plain bytes before. If those make a handle frame straddle the end of a read, its descriptor comes
//! with the first part, and the next read may bring the next descriptor before the frame is whole: the two are mixed up.
//! So a handle frame that ends too far behind the last one is a barrier: nothing with a descriptor follows it until the
//! worker has acknowledged it. (Node 16 to 24; measured.)

/// What was sent on one channel.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Plain bytes sent since the end of the last handle frame.
    run: usize,
    /// Handle frames that are not acknowledged.
    unacked: usize,
    pub(super) barrier: bool,
}

/// Where a frame becomes a barrier, in bytes: well within Node's 64 KiB.
pub(super) const BARRIER: usize = 16 << 10;

impl Flow {
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
