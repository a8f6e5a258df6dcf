//! Black-box conformance: curl and kubectl from outside.
