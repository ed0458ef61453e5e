//! MQTT 3.1, 3.1.1 and 5.0. May import what `protocol` says.

pub mod wire;
