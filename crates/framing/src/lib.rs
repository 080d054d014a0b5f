//! How bytes lie on a socket: pure codecs, no sockets, no clock.
