//! The per-core event loop: sockets, cursors, sliced fan-out, timers.
