//! Pointsman runs many worker processes behind one port.

#![cfg_attr(not(test), warn(missing_docs))]

#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod protocol;
#[cfg(not(feature = "internals"))]
mod protocol;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod time;
#[cfg(not(feature = "internals"))]
mod time;
