//! What every method is called, carries and expects (AMQP 0-9-1 1; P2).
//! May import nothing. Written by generate_method_table.py: change that.

/// Kind of an argument (AMQP 0-9-1 4.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 1 octet.
    Octet,
    /// 2 octets.
    Short,
    /// 4 octets.
    Long,
    /// 8 octets.
    LongLong,
    /// Text behind a length of 1 octet.
    ShortText,
    /// Octets behind a length of 4 octets.
    LongText,
    /// Field table.
    Table,
    /// 1 bit; bits that follow each other share an octet.
    Bit,
}

/// One method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodRow {
    /// Class id.
    pub class: u16,
    /// Method id.
    pub method: u16,
    /// Class and method name.
    pub name: &'static str,
    /// Whether a server takes it.
    pub to_server: bool,
    /// Whether a client takes it.
    pub to_client: bool,
    /// Whether the sender waits for an answer.
    pub is_synchronous: bool,
    /// Whether header and body frames follow.
    pub has_content: bool,
    /// Whether a bit can ask for no answer.
    pub has_no_wait: bool,
    /// Kinds of the arguments in order.
    pub arguments: &'static [Kind],
}

/// The row of a method; for logs and errors, not for the way of a message.
pub fn find(class: u16, method: u16) -> Option<&'static MethodRow> {
    METHODS.iter().find(|row| row.class == class && row.method == method)
}

/// Class connection.
pub const CONNECTION: u16 = 10;
/// Class channel.
pub const CHANNEL: u16 = 20;
/// Class access.
pub const ACCESS: u16 = 30;
/// Class exchange.
pub const EXCHANGE: u16 = 40;
/// Class queue.
pub const QUEUE: u16 = 50;
/// Class basic.
pub const BASIC: u16 = 60;
/// Class confirm.
pub const CONFIRM: u16 = 85;
/// Class tx.
pub const TX: u16 = 90;

/// All methods, by class and id.
pub const METHODS: &[MethodRow] = &[
    row(
        CONNECTION,
        10,
        "connection.start",
        [false, true, true, false, false],
        &[Kind::Octet, Kind::Octet, Kind::Table, Kind::LongText, Kind::LongText],
    ),
    row(
        CONNECTION,
        11,
        "connection.start-ok",
        [true, false, false, false, false],
        &[Kind::Table, Kind::ShortText, Kind::LongText, Kind::ShortText],
    ),
    row(CONNECTION, 20, "connection.secure", [false, true, true, false, false], &[Kind::LongText]),
    row(
        CONNECTION,
        21,
        "connection.secure-ok",
        [true, false, false, false, false],
        &[Kind::LongText],
    ),
    row(
        CONNECTION,
        30,
        "connection.tune",
        [false, true, true, false, false],
        &[Kind::Short, Kind::Long, Kind::Short],
    ),
    row(
        CONNECTION,
        31,
        "connection.tune-ok",
        [true, false, false, false, false],
        &[Kind::Short, Kind::Long, Kind::Short],
    ),
    row(
        CONNECTION,
        40,
        "connection.open",
        [true, false, true, false, false],
        &[Kind::ShortText, Kind::ShortText, Kind::Bit],
    ),
    row(
        CONNECTION,
        41,
        "connection.open-ok",
        [false, true, false, false, false],
        &[Kind::ShortText],
    ),
    row(
        CONNECTION,
        50,
        "connection.close",
        [true, true, true, false, false],
        &[Kind::Short, Kind::ShortText, Kind::Short, Kind::Short],
    ),
    row(CONNECTION, 51, "connection.close-ok", [true, true, false, false, false], &[]),
    row(
        CONNECTION,
        60,
        "connection.blocked",
        [false, true, false, false, false],
        &[Kind::ShortText],
    ),
    row(CONNECTION, 61, "connection.unblocked", [false, true, false, false, false], &[]),
    row(
        CONNECTION,
        70,
        "connection.update-secret",
        [true, false, true, false, false],
        &[Kind::LongText, Kind::ShortText],
    ),
    row(CONNECTION, 71, "connection.update-secret-ok", [false, true, false, false, false], &[]),
    row(CHANNEL, 10, "channel.open", [true, false, true, false, false], &[Kind::ShortText]),
    row(CHANNEL, 11, "channel.open-ok", [false, true, false, false, false], &[Kind::LongText]),
    row(CHANNEL, 20, "channel.flow", [true, true, true, false, false], &[Kind::Bit]),
    row(CHANNEL, 21, "channel.flow-ok", [true, true, false, false, false], &[Kind::Bit]),
    row(
        CHANNEL,
        40,
        "channel.close",
        [true, true, true, false, false],
        &[Kind::Short, Kind::ShortText, Kind::Short, Kind::Short],
    ),
    row(CHANNEL, 41, "channel.close-ok", [true, true, false, false, false], &[]),
    row(
        ACCESS,
        10,
        "access.request",
        [true, false, true, false, false],
        &[Kind::ShortText, Kind::Bit, Kind::Bit, Kind::Bit, Kind::Bit, Kind::Bit],
    ),
    row(ACCESS, 11, "access.request-ok", [false, true, false, false, false], &[Kind::Short]),
    row(
        EXCHANGE,
        10,
        "exchange.declare",
        [true, false, true, false, true],
        &[
            Kind::Short,
            Kind::ShortText,
            Kind::ShortText,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Table,
        ],
    ),
    row(EXCHANGE, 11, "exchange.declare-ok", [false, true, false, false, false], &[]),
    row(
        EXCHANGE,
        20,
        "exchange.delete",
        [true, false, true, false, true],
        &[Kind::Short, Kind::ShortText, Kind::Bit, Kind::Bit],
    ),
    row(EXCHANGE, 21, "exchange.delete-ok", [false, true, false, false, false], &[]),
    row(
        EXCHANGE,
        30,
        "exchange.bind",
        [true, false, true, false, true],
        &[Kind::Short, Kind::ShortText, Kind::ShortText, Kind::ShortText, Kind::Bit, Kind::Table],
    ),
    row(EXCHANGE, 31, "exchange.bind-ok", [false, true, false, false, false], &[]),
    row(
        EXCHANGE,
        40,
        "exchange.unbind",
        [true, false, true, false, true],
        &[Kind::Short, Kind::ShortText, Kind::ShortText, Kind::ShortText, Kind::Bit, Kind::Table],
    ),
    row(EXCHANGE, 51, "exchange.unbind-ok", [false, true, false, false, false], &[]),
    row(
        QUEUE,
        10,
        "queue.declare",
        [true, false, true, false, true],
        &[
            Kind::Short,
            Kind::ShortText,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Table,
        ],
    ),
    row(
        QUEUE,
        11,
        "queue.declare-ok",
        [false, true, false, false, false],
        &[Kind::ShortText, Kind::Long, Kind::Long],
    ),
    row(
        QUEUE,
        20,
        "queue.bind",
        [true, false, true, false, true],
        &[Kind::Short, Kind::ShortText, Kind::ShortText, Kind::ShortText, Kind::Bit, Kind::Table],
    ),
    row(QUEUE, 21, "queue.bind-ok", [false, true, false, false, false], &[]),
    row(
        QUEUE,
        30,
        "queue.purge",
        [true, false, true, false, true],
        &[Kind::Short, Kind::ShortText, Kind::Bit],
    ),
    row(QUEUE, 31, "queue.purge-ok", [false, true, false, false, false], &[Kind::Long]),
    row(
        QUEUE,
        40,
        "queue.delete",
        [true, false, true, false, true],
        &[Kind::Short, Kind::ShortText, Kind::Bit, Kind::Bit, Kind::Bit],
    ),
    row(QUEUE, 41, "queue.delete-ok", [false, true, false, false, false], &[Kind::Long]),
    row(
        QUEUE,
        50,
        "queue.unbind",
        [true, false, true, false, false],
        &[Kind::Short, Kind::ShortText, Kind::ShortText, Kind::ShortText, Kind::Table],
    ),
    row(QUEUE, 51, "queue.unbind-ok", [false, true, false, false, false], &[]),
    row(
        BASIC,
        10,
        "basic.qos",
        [true, false, true, false, false],
        &[Kind::Long, Kind::Short, Kind::Bit],
    ),
    row(BASIC, 11, "basic.qos-ok", [false, true, false, false, false], &[]),
    row(
        BASIC,
        20,
        "basic.consume",
        [true, false, true, false, true],
        &[
            Kind::Short,
            Kind::ShortText,
            Kind::ShortText,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Bit,
            Kind::Table,
        ],
    ),
    row(BASIC, 21, "basic.consume-ok", [false, true, false, false, false], &[Kind::ShortText]),
    row(BASIC, 30, "basic.cancel", [true, true, true, false, true], &[Kind::ShortText, Kind::Bit]),
    row(BASIC, 31, "basic.cancel-ok", [true, true, false, false, false], &[Kind::ShortText]),
    row(
        BASIC,
        40,
        "basic.publish",
        [true, false, false, true, false],
        &[Kind::Short, Kind::ShortText, Kind::ShortText, Kind::Bit, Kind::Bit],
    ),
    row(
        BASIC,
        50,
        "basic.return",
        [false, true, false, true, false],
        &[Kind::Short, Kind::ShortText, Kind::ShortText, Kind::ShortText],
    ),
    row(
        BASIC,
        60,
        "basic.deliver",
        [false, true, false, true, false],
        &[Kind::ShortText, Kind::LongLong, Kind::Bit, Kind::ShortText, Kind::ShortText],
    ),
    row(
        BASIC,
        70,
        "basic.get",
        [true, false, true, false, false],
        &[Kind::Short, Kind::ShortText, Kind::Bit],
    ),
    row(
        BASIC,
        71,
        "basic.get-ok",
        [false, true, false, true, false],
        &[Kind::LongLong, Kind::Bit, Kind::ShortText, Kind::ShortText, Kind::Long],
    ),
    row(BASIC, 72, "basic.get-empty", [false, true, false, false, false], &[Kind::ShortText]),
    row(BASIC, 80, "basic.ack", [true, true, false, false, false], &[Kind::LongLong, Kind::Bit]),
    row(
        BASIC,
        90,
        "basic.reject",
        [true, false, false, false, false],
        &[Kind::LongLong, Kind::Bit],
    ),
    row(BASIC, 100, "basic.recover-async", [true, false, false, false, false], &[Kind::Bit]),
    row(BASIC, 110, "basic.recover", [true, false, true, false, false], &[Kind::Bit]),
    row(BASIC, 111, "basic.recover-ok", [false, true, false, false, false], &[]),
    row(
        BASIC,
        120,
        "basic.nack",
        [true, true, false, false, false],
        &[Kind::LongLong, Kind::Bit, Kind::Bit],
    ),
    row(CONFIRM, 10, "confirm.select", [true, false, true, false, true], &[Kind::Bit]),
    row(CONFIRM, 11, "confirm.select-ok", [false, true, false, false, false], &[]),
    row(TX, 10, "tx.select", [true, false, true, false, false], &[]),
    row(TX, 11, "tx.select-ok", [false, true, false, false, false], &[]),
    row(TX, 20, "tx.commit", [true, false, true, false, false], &[]),
    row(TX, 21, "tx.commit-ok", [false, true, false, false, false], &[]),
    row(TX, 30, "tx.rollback", [true, false, true, false, false], &[]),
    row(TX, 31, "tx.rollback-ok", [false, true, false, false, false], &[]),
];

/// The flags in the order of the fields.
const fn row(
    class: u16,
    method: u16,
    name: &'static str,
    flags: [bool; 5],
    arguments: &'static [Kind],
) -> MethodRow {
    let [to_server, to_client, is_synchronous, has_content, has_no_wait] = flags;
    MethodRow {
        class,
        method,
        name,
        to_server,
        to_client,
        is_synchronous,
        has_content,
        has_no_wait,
        arguments,
    }
}
