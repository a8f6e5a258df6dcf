//! The scheduler: pure filters and scores, and a loop that binds.
