//! The schema engine: one generated table describes every built-in type.
