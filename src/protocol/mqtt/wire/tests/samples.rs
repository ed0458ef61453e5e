//! Packets as octets that the tests cut, change and decode.

use super::super::{Sender, Version};

/// A packet, the version that it is of, and who sends it.
pub(super) type Sample = (Version, Sender, &'static [u8]);

use Sender::{Client, Server};
use Version::{V3, V4, V5};

/// Each kind in each version, with everything that it can have.
pub(super) const SAMPLES: &[Sample] = &[
    (V3, Client, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c"),
    (V4, Client, b"\x10\x1b\0\x04MQTT\x04\xee\0\x0a\0\x01c\0\x01w\0\x02\0\xff\0\x01u\0\x02pw"),
    (
        V5,
        Client,
        b"\x10\x5f\0\x04MQTT\x05\xf6\0\x0a\x24\x11\0\0\0\x1e\x21\0\x0a\x27\0\0\x10\0\x22\0\x05\
          \x19\x01\x17\0\x15\0\x01m\x16\0\x02\0\x01\x26\0\x01a\0\x01b\0\x01c\
          \x1e\x18\0\0\0\x05\x01\x01\x02\0\0\0\x09\x03\0\x01t\x08\0\x01r\x09\0\x01\xff\
          \x26\0\x01a\0\0\0\x01w\0\x02\0\xff\0\x01u\0\x02pw",
    ),
    (V3, Server, b"\x20\x02\0\x05"),
    (V4, Server, b"\x20\x02\x01\0"),
    (
        V5,
        Server,
        b"\x20\x47\0\x9c\x44\x11\0\0\0\x01\x21\0\x02\x24\x01\x25\0\x27\0\0\x04\0\x12\0\x01i\
          \x22\0\x03\x1f\0\x01y\x26\0\x01a\0\x01b\x28\0\x29\0\x2a\0\x13\0\x04\x1a\0\x02ri\
          \x1c\0\x01s\x15\0\x01m\x16\0\x03\0\x01\x02\x26\0\0\0\0",
    ),
    (V3, Client, b"\x38\x05\0\x01tab"),
    (V4, Client, b"\x3b\x08\0\x02a/\0\x07xy"),
    (V4, Server, b"\x34\x05\0\x01t\xff\xff"),
    (
        V5,
        Client,
        b"\x33\x2e\0\x01t\0\x01\x24\x01\x01\x26\0\x01a\0\x01b\x02\0\0\0\x09\x03\0\x01t\x08\0\x01r\
          \x09\0\x02\0\xff\x23\0\x05\x26\0\0\0\x01cbody",
    ),
    (V5, Server, b"\x30\x0c\0\x01t\x06\x0b\x01\x0b\xff\xff\x03xy"),
    (V4, Client, b"\x40\x02\0\x01"),
    (V4, Client, b"\x50\x02\0\x01"),
    (V4, Client, b"\x62\x02\0\x01"),
    (V4, Client, b"\x70\x02\0\x01"),
    (V5, Client, b"\x40\x03\0\x01\x10"),
    (V5, Server, b"\x50\x10\0\x01\x97\x0c\x1f\0\x01r\x26\0\x01a\0\x02bc"),
    (V5, Client, b"\x62\x09\0\x01\x92\x05\x26\0\0\0\0"),
    (V5, Client, b"\x70\x02\0\x01"),
    (V3, Client, b"\x88\x0c\0\x01\0\x01a\x01\0\x03+/#\x02"),
    (V4, Client, b"\x82\x06\0\x01\0\x01#\0"),
    (V5, Client, b"\x82\x1c\0\x01\x0a\x0b\x80\x01\x26\0\x01a\0\x01b\0\x01a\x2d\0\x08$share/a\x01"),
    (V4, Server, b"\x90\x05\0\x01\0\x02\x80"),
    (V5, Server, b"\x90\x08\0\x01\x04\x1f\0\x01r\x97"),
    (V4, Client, b"\xa2\x05\0\x01\0\x01a"),
    (V5, Client, b"\xa2\x0d\0\x01\x05\x26\0\0\0\0\0\x03a/b"),
    (V4, Server, b"\xb0\x02\0\x01"),
    (V5, Server, b"\xb0\x05\0\x01\0\0\x11"),
    (V4, Client, b"\xc0\0"),
    (V4, Server, b"\xd0\0"),
    (V4, Client, b"\xe0\0"),
    (V5, Client, b"\xe0\x07\x04\x05\x11\0\0\0\x01"),
    (V5, Server, b"\xe0\x0a\x9d\x08\x1c\0\x01s\x1f\0\x01r"),
    (V5, Client, b"\xf0\x0e\x18\x0c\x15\0\x01m\x16\0\x01d\x1f\0\x01r"),
    (V5, Server, b"\xf0\0"),
];
