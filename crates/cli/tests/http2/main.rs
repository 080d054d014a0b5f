//! HTTP/2 as its clients see it: a published client on real sockets, and peers that do what no client does.

mod abuse;
mod bounds;
mod life;
mod rig;
mod streams;
