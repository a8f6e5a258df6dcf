//! What is truly per kind: defaulting, validation, update strategy and printer columns.
