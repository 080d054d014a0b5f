//! Window, sessions, subscriptions, recovery, permissions: the product without sockets.
