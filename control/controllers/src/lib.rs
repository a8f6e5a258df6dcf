//! The controllers: level-triggered loops over typed clients.
