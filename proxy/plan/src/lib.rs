//! The service plan: Services and EndpointSlices in, one value out, without IO.
