//! The overlay: Node objects become VXLAN or host-gw routes over rtnetlink.
