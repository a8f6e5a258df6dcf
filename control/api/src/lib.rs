//! The API server: HTTP in, store out, and nothing else touches the store.
