//! The CNI plugin: routed veth pairs with addresses from the Node's podCIDR.
