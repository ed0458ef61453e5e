//! Packets as octets, written by hand from the specification: the broker's codec has no part in
//! them, so that both cannot agree on a mistake. May import nothing of the crate.

/// 3.1, 3.1.1 and 5.0, as CONNECT says them.
pub(crate) const V3: u8 = 3;
pub(crate) const V4: u8 = 4;
pub(crate) const V5: u8 = 5;

/// The versions that most statements are about.
pub(crate) const BOTH: [u8; 2] = [V4, V5];

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A number in as few octets as it takes, up to any size: five octets are for hostile clients.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7F).expect("seven bits");
        number >>= 7;
        if number == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

/// Octets behind their number.
pub(crate) fn binary(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).expect("below 64 KiB");
    [&length.to_be_bytes()[..], octets].concat()
}

/// A text behind its length.
pub(crate) fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

/// A packet with any first octet.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len() as u64), body].concat()
}

/// Properties behind their length, where the version has some.
pub(crate) fn block(version: u8, properties: &[u8]) -> Vec<u8> {
    if version < V5 {
        assert!(properties.is_empty(), "version {version} has no properties");
        return Vec::new();
    }
    [&varint(properties.len() as u64)[..], properties].concat()
}

/// A property of four octets.
pub(crate) fn four(id: u8, value: u32) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

/// A property of two octets.
pub(crate) fn two(id: u8, value: u16) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

/// Session expiry interval, message expiry interval, will delay interval.
pub(crate) fn session_expiry(seconds: u32) -> Vec<u8> {
    four(0x11, seconds)
}
pub(crate) fn message_expiry(seconds: u32) -> Vec<u8> {
    four(0x02, seconds)
}
pub(crate) fn will_delay(seconds: u32) -> Vec<u8> {
    four(0x18, seconds)
}

/// A will.
#[derive(Debug, Clone, Default)]
pub(crate) struct Will {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Will {
    /// With QoS 0, at once.
    pub(crate) fn of(topic: &str, payload: &str) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// With QoS 1, at once.
    pub(crate) fn sure(topic: &str, payload: &str) -> Self {
        Self { qos: 1, ..Self::of(topic, payload) }
    }
}

/// What CONNECT says.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) version: u8,
    pub(crate) client: Vec<u8>,
    /// Clean session, clean start.
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) will: Option<Will>,
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

impl Hello {
    /// As guest, with a session that ends with the connection.
    pub(crate) fn new(version: u8, client: &str) -> Self {
        Self {
            version,
            client: client.into(),
            clean: true,
            keep_alive: 0,
            properties: Vec::new(),
            will: None,
            user: b"guest".into(),
            password: b"guest".into(),
        }
    }

    /// The same with a session that is remembered for a day at least.
    pub(crate) fn lasting(version: u8, client: &str) -> Self {
        let properties = if version == V5 { session_expiry(86_400) } else { Vec::new() };
        Self { clean: false, properties, ..Self::new(version, client) }
    }

    /// With further properties.
    pub(crate) fn with(mut self, properties: &[u8]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    /// With a will.
    pub(crate) fn leaving(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// The packet.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let name = if self.version == V3 { "MQIsdp" } else { "MQTT" };
        let mut flags = 0xC0 | if self.clean { 2 } else { 0 };
        if let Some(will) = &self.will {
            flags |= 4 | (will.qos << 3) | if will.retain { 0x20 } else { 0 };
        }
        let mut body = [&text(name)[..], &[self.version, flags]].concat();
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        body.extend(block(self.version, &self.properties));
        body.extend(binary(&self.client));
        if let Some(will) = &self.will {
            body.extend(block(self.version, &will.properties));
            body.extend(binary(&will.topic));
            body.extend(binary(&will.payload));
        }
        body.extend(binary(&self.user));
        body.extend(binary(&self.password));
        packet(0x10, &body)
    }
}

/// A PUBLISH to send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letter<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: u8,
    /// Packet id, where the QoS asks for one.
    pub(crate) id: u16,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) properties: &'a [u8],
}

impl Letter<'_> {
    /// The packet.
    pub(crate) fn octets(&self, version: u8) -> Vec<u8> {
        let flags = u8::from(self.retain) | (self.qos << 1) | (u8::from(self.dup) << 3);
        let mut body = text(self.topic);
        if self.qos > 0 {
            body.extend_from_slice(&self.id.to_be_bytes());
        }
        body.extend(block(version, self.properties));
        body.extend_from_slice(self.payload);
        packet(0x30 | flags, &body)
    }
}

/// A packet that has a packet id and nothing else: 0x40 PUBACK, 0x50 PUBREC, 0x62 PUBREL, 0x70
/// PUBCOMP.
pub(crate) fn numbered(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// SUBSCRIBE with these filters and their options.
pub(crate) fn subscribe(
    version: u8,
    id: u16,
    filters: &[(&str, u8)],
    properties: &[u8],
) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(block(version, properties));
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE of these filters.
pub(crate) fn unsubscribe(version: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.extend(block(version, &[]));
    filters.iter().for_each(|filter| body.extend(text(filter)));
    packet(0xA2, &body)
}
