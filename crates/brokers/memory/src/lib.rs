//! A broker within one process: fast, forgets everything when it ends.
