//! Pointsman runs many worker processes behind one port.
