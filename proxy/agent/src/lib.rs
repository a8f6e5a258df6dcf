//! The service proxy agent: watches the cluster, computes the plan, drives a backend, serves health.
