//! An allocator that counts what one thread asks of it, and shows where the first of it was asked.

#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; every call is passed on as it came")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    backtrace::Backtrace,
    cell::Cell,
};

/// The system's allocator, watched.
#[derive(Debug)]
pub(crate) struct Counting;

thread_local! {
    /// `None` where nobody counts: in other tests, and in the test harness.
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

// SAFETY: every request is the system allocator's own. Growing and zeroing come here as the trait does them by itself,
// by `alloc`, so each counts once.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises about `layout` are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from `alloc` above, and so from the system's allocator, with this layout.
        unsafe { System.dealloc(place, layout) }
    }
}

/// How many allocations `work` makes on this thread. The stack of the first is printed.
pub(crate) fn allocations(work: impl FnOnce()) -> u64 {
    COUNT.set(Some(0));
    work();
    COUNT.take().unwrap_or(0)
}

fn note() {
    if let Some(count) = COUNT.get() {
        // Showing it allocates as well.
        COUNT.set(None);
        if count == 0 {
            eprintln!("the first allocation:\n{}", Backtrace::force_capture());
        }
        COUNT.set(Some(count + 1));
    }
}

#[test]
fn what_allocates_is_counted() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| drop((Box::new(1), String::from("two")))), 2);
    assert_eq!(allocations(|| vec![0u8; 8].extend([1; 100])), 2, "a vector that grows");
}
