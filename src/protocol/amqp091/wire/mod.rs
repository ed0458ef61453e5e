//! The codec of AMQP 0-9-1: pure functions over slices, for both ends of a connection, without
//! I/O or clock, and without an allocation whose size a length field decides. May import
//! `octets` and `value`.
//!
//! | octets | file |
//! |---|---|
//! | the first 8 | `protocol_header` |
//! | frames | `frame` |
//! | the payload of a method frame | `method`, `method/<class>`, `method_table` |
//! | the payload of a header frame | `properties` |
//! | field tables | `field_table` (read), `field_value` (one value), `table_buffer` (write, change) |
//!
//! Deviations: names and strings of methods must be UTF-8 (502 otherwise, abuse row 24); a frame
//! may exceed frame_max by its 8 octets of overhead (P5); limits on field tables as in
//! `field_table`.

pub mod field_table;
pub mod field_value;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod method;
pub mod method_table;
pub mod properties;
pub mod protocol_header;
pub mod table_buffer;

#[cfg(test)]
mod tests;
