#!/usr/bin/env python3
"""Writes method_table.rs and method/<class>.rs from the definition of classes and methods below.

    python3 generate_method_table.py           writes them
    python3 generate_method_table.py --check   fails when they differ from what it would write

The definition is that of AMQP 0-9-1 with RabbitMQ's extensions (P2): exchange.bind and unbind,
basic.nack, confirm.select, connection.blocked, unblocked and update-secret, and class access,
which clients of 0-8 still use. Needs rustfmt of the toolchain, nothing else.
"""

import difflib
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RUSTFMT_SETTINGS = HERE.parents[3]

# Per class: name, id, and per method: name, id, who takes it, marks, arguments.
# Takers: s server, c client, b both. Marks: S has an answer to wait for, C carries content.
# An argument is name:type; bits that follow each other share an octet (4.2.5.2).
CLASSES = [
    ("connection", 10, [
        ("start", 10, "c", "S", "version_major:octet version_minor:octet server_properties:table "
                                "mechanisms:longstr locales:longstr"),
        ("start-ok", 11, "s", "", "client_properties:table mechanism:shortstr response:longstr locale:shortstr"),
        ("secure", 20, "c", "S", "challenge:longstr"),
        ("secure-ok", 21, "s", "", "response:longstr"),
        ("tune", 30, "c", "S", "channel_max:short frame_max:long heartbeat:short"),
        ("tune-ok", 31, "s", "", "channel_max:short frame_max:long heartbeat:short"),
        ("open", 40, "s", "S", "virtual_host:shortstr capabilities:shortstr insist:bit"),
        ("open-ok", 41, "c", "", "known_hosts:shortstr"),
        ("close", 50, "b", "S", "reply_code:short reply_text:shortstr class_id:short method_id:short"),
        ("close-ok", 51, "b", "", ""),
        ("blocked", 60, "c", "", "reason:shortstr"),
        ("unblocked", 61, "c", "", ""),
        ("update-secret", 70, "s", "S", "new_secret:longstr reason:shortstr"),
        ("update-secret-ok", 71, "c", "", ""),
    ]),
    ("channel", 20, [
        ("open", 10, "s", "S", "out_of_band:shortstr"),
        ("open-ok", 11, "c", "", "channel_id:longstr"),
        ("flow", 20, "b", "S", "active:bit"),
        ("flow-ok", 21, "b", "", "active:bit"),
        ("close", 40, "b", "S", "reply_code:short reply_text:shortstr class_id:short method_id:short"),
        ("close-ok", 41, "b", "", ""),
    ]),
    ("access", 30, [
        ("request", 10, "s", "S", "realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit"),
        ("request-ok", 11, "c", "", "ticket:short"),
    ]),
    ("exchange", 40, [
        ("declare", 10, "s", "S", "ticket:short exchange:shortstr kind:shortstr passive:bit durable:bit "
                                  "auto_delete:bit internal:bit no_wait:bit arguments:table"),
        ("declare-ok", 11, "c", "", ""),
        ("delete", 20, "s", "S", "ticket:short exchange:shortstr if_unused:bit no_wait:bit"),
        ("delete-ok", 21, "c", "", ""),
        ("bind", 30, "s", "S", "ticket:short destination:shortstr source:shortstr routing_key:shortstr "
                               "no_wait:bit arguments:table"),
        ("bind-ok", 31, "c", "", ""),
        ("unbind", 40, "s", "S", "ticket:short destination:shortstr source:shortstr routing_key:shortstr "
                                 "no_wait:bit arguments:table"),
        ("unbind-ok", 51, "c", "", ""),  # 51 where 41 would be the rule: an old slip, kept by all
    ]),
    ("queue", 50, [
        ("declare", 10, "s", "S", "ticket:short queue:shortstr passive:bit durable:bit exclusive:bit "
                                  "auto_delete:bit no_wait:bit arguments:table"),
        ("declare-ok", 11, "c", "", "queue:shortstr message_count:long consumer_count:long"),
        ("bind", 20, "s", "S", "ticket:short queue:shortstr exchange:shortstr routing_key:shortstr "
                               "no_wait:bit arguments:table"),
        ("bind-ok", 21, "c", "", ""),
        ("purge", 30, "s", "S", "ticket:short queue:shortstr no_wait:bit"),
        ("purge-ok", 31, "c", "", "message_count:long"),
        ("delete", 40, "s", "S", "ticket:short queue:shortstr if_unused:bit if_empty:bit no_wait:bit"),
        ("delete-ok", 41, "c", "", "message_count:long"),
        ("unbind", 50, "s", "S", "ticket:short queue:shortstr exchange:shortstr routing_key:shortstr arguments:table"),
        ("unbind-ok", 51, "c", "", ""),
    ]),
    ("basic", 60, [
        ("qos", 10, "s", "S", "prefetch_size:long prefetch_count:short global:bit"),
        ("qos-ok", 11, "c", "", ""),
        ("consume", 20, "s", "S", "ticket:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit "
                                  "exclusive:bit no_wait:bit arguments:table"),
        ("consume-ok", 21, "c", "", "consumer_tag:shortstr"),
        ("cancel", 30, "b", "S", "consumer_tag:shortstr no_wait:bit"),
        ("cancel-ok", 31, "b", "", "consumer_tag:shortstr"),
        ("publish", 40, "s", "C", "ticket:short exchange:shortstr routing_key:shortstr mandatory:bit immediate:bit"),
        ("return", 50, "c", "C", "reply_code:short reply_text:shortstr exchange:shortstr routing_key:shortstr"),
        ("deliver", 60, "c", "C", "consumer_tag:shortstr delivery_tag:longlong redelivered:bit exchange:shortstr "
                                  "routing_key:shortstr"),
        ("get", 70, "s", "S", "ticket:short queue:shortstr no_ack:bit"),
        ("get-ok", 71, "c", "C", "delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr "
                                 "message_count:long"),
        ("get-empty", 72, "c", "", "cluster_id:shortstr"),
        ("ack", 80, "b", "", "delivery_tag:longlong multiple:bit"),
        ("reject", 90, "s", "", "delivery_tag:longlong requeue:bit"),
        ("recover-async", 100, "s", "", "requeue:bit"),
        ("recover", 110, "s", "S", "requeue:bit"),
        ("recover-ok", 111, "c", "", ""),
        ("nack", 120, "b", "", "delivery_tag:longlong multiple:bit requeue:bit"),
    ]),
    ("confirm", 85, [
        ("select", 10, "s", "S", "no_wait:bit"),
        ("select-ok", 11, "c", "", ""),
    ]),
    ("tx", 90, [
        ("select", 10, "s", "S", ""),
        ("select-ok", 11, "c", "", ""),
        ("commit", 20, "s", "S", ""),
        ("commit-ok", 21, "c", "", ""),
        ("rollback", 30, "s", "S", ""),
        ("rollback-ok", 31, "c", "", ""),
    ]),
]

# Type: Rust type, how it is read, how it is written ({} is the field), variant of `Kind`.
TYPES = {
    "octet": ("u8", "input.u8()?", "out.push({});", "Octet"),
    "short": ("u16", "input.u16()?", "put_u16(out, {});", "Short"),
    "long": ("u32", "input.u32()?", "put_u32(out, {});", "Long"),
    "longlong": ("u64", "input.u64()?", "put_u64(out, {});", "LongLong"),
    "shortstr": ("&'a str", "input.short_str()?", "put_short_str(out, {});", "ShortText"),
    "longstr": ("&'a [u8]", "input.long_bytes()?", "put_long_bytes(out, {});", "LongText"),
    "table": ("TableRef<'a>", "TableRef::read(input)?", "{}.put(out);", "Table"),
    "bit": ("bool", None, None, "Bit"),
}

DOCS = {
    "active": "Whether content may flow.",
    "arguments": "What extensions ask for.",
    "auto_delete": "Whether it goes when its last user does.",
    "capabilities": "Reserved.",
    "challenge": "What the mechanism asks.",
    "channel_id": "Reserved.",
    "channel_max": "Highest channel number; 0 for no limit of one's own.",
    "class_id": "Class of the method that was the cause, or 0.",
    "client_properties": "Product, version, capabilities and so on.",
    "cluster_id": "Reserved.",
    "consumer_count": "Active consumers of the queue.",
    "consumer_tag": "Name of the consumer on its channel.",
    "delivery_tag": "Number of the delivery, or of the publish, on its channel.",
    "destination": "Exchange that gets the messages.",
    "durable": "Whether it survives a restart.",
    "exchange": "Name of the exchange; empty for the default one.",
    "exclusive": "Whether others are kept out.",
    "frame_max": "Octets of the largest frame; 0 for no limit of one's own.",
    "global": "Whether for all consumers of the channel together.",
    "heartbeat": "Seconds; 0 for none.",
    "if_empty": "Only if it has no messages.",
    "if_unused": "Only if nobody uses it.",
    "immediate": "Return what no consumer can take at once.",
    "insist": "Reserved.",
    "internal": "Whether clients may not publish to it.",
    "kind": "Exchange type.",
    "known_hosts": "Reserved.",
    "locale": "Chosen locale.",
    "locales": "Locales, parted by spaces.",
    "mandatory": "Return what reaches no queue.",
    "mechanism": "Chosen mechanism of SASL.",
    "mechanisms": "Mechanisms of SASL, parted by spaces.",
    "message_count": "Messages that are ready, or that were removed.",
    "method_id": "The method that was the cause, or 0.",
    "multiple": "Whether for all up to and including that one.",
    "new_secret": "The new password or token.",
    "no_ack": "Whether deliveries count as acknowledged.",
    "no_local": "Whether one's own messages are left out.",
    "no_wait": "Whether no answer is wanted.",
    "out_of_band": "Reserved.",
    "passive": "Only ask whether it exists.",
    "prefetch_count": "Messages that may be unacknowledged; 0 for no limit.",
    "prefetch_size": "Octets that may be unacknowledged; 0 for no limit.",
    "queue": "Name of the queue; empty for the last declared or a new one.",
    "read": "Reserved.",
    "realm": "Reserved.",
    "reason": "For people.",
    "redelivered": "Whether it may have been delivered before.",
    "reply_code": "The cause as a number.",
    "reply_text": "The cause for people.",
    "requeue": "Whether it goes back to its queue.",
    "response": "What the mechanism answers.",
    "routing_key": "Routing key.",
    "server_properties": "Product, version, capabilities and so on.",
    "source": "Exchange that the messages come from.",
    "ticket": "Reserved since 0-9-1.",
    "version_major": "0",
    "version_minor": "9",
    "virtual_host": "Name of the virtual host.",
    "write": "Reserved.",
}

# A file holds 600 lines at most, so the methods with content have one of their own.
SPLIT = {"basic": ("content", "C")}


def camel(name):
    return "".join(part.capitalize() for part in name.split("-"))


def arguments(text):
    return [tuple(argument.split(":")) for argument in text.split()]


def lifetime(args):
    return "<'a>" if any("'a" in TYPES[kind][0] for _, kind in args) else ""


def bit_groups(args):
    """Arguments in order; bits that follow each other as one list of names."""
    groups = []
    for name, kind in args:
        if kind != "bit":
            groups.append((name, kind))
        elif groups and groups[-1][1] == "bits":
            groups[-1][0].append(name)
        else:
            groups.append(([name], "bits"))
    return groups


def struct(class_name, class_id, method):
    name, method_id, _, marks, text = method
    args = arguments(text)
    groups = bit_groups(args)
    bits = sum(kind == "bits" for _, kind in groups)
    assert bits <= 1, name
    content = ", with content" if "C" in marks else ""
    generic = lifetime(args)
    lines = [
        f"/// {class_name}.{name} ({class_id}, {method_id}){content}.",
        "#[derive(Debug, Clone, Copy, PartialEq, Eq)]",
        f"pub struct {camel(name)}{generic} {{",
    ]
    for field, kind in args:
        lines += [f"/// {DOCS[field]}", f"pub {field}: {TYPES[kind][0]},"]
    impl = "impl<'a>" if generic else "impl"
    reader = "Reader<'a>" if generic else "Reader<'_>"
    lines += ["}", "", f"{impl} {camel(name)}{generic} {{"]
    lines += ["#[inline]", f"pub(super) fn read(input: &mut {reader}) -> Result<Self, WireError> {{"]
    # Fields are evaluated as they stand; only bits in the middle need a place of their own.
    values = []
    position = next((i for i, (_, kind) in enumerate(groups) if kind == "bits"), None)
    for index, (field, kind) in enumerate(groups):
        if kind == "bits":
            lines.append("let bits = input.u8()?;")
            values += [f"{bit}: bits & {1 << n} != 0" for n, bit in enumerate(field)]
        elif position is not None and index < position:
            lines.append(f"let {field} = {TYPES[kind][1]};")
            values.append(field)
        else:
            values.append(f"{field}: {TYPES[kind][1]}")
    lines += [f"Ok(Self {{ {', '.join(values)} }})", "}", "}", ""]
    anonymous = "<'_>" if generic else ""
    lines += [f"impl Encode for {camel(name)}{anonymous} {{", "#[inline]", "fn encode(&self, out: &mut Vec<u8>) {"]
    lines.append(f"put_id(out, {class_id}, {method_id});")
    for field, kind in groups:
        if kind == "bits":
            packed = " | ".join(
                f"u8::from(self.{bit})" + (f" << {n}" if n else "") for n, bit in enumerate(field))
            lines.append(f"out.push({packed});")
        else:
            lines.append(TYPES[kind][2].format(f"self.{field}"))
    lines += ["}", "}", ""]
    return lines


def class_enum(class_name, class_id, methods):
    generic = "<'a>" if any(lifetime(arguments(m[4])) for m in methods) else ""
    anonymous = "<'_>" if generic else ""
    enum = camel(class_name)
    lines = [f"/// A method of class {class_name}.", "#[derive(Debug, Clone, Copy, PartialEq, Eq)]",
             f"pub enum {enum}{generic} {{"]
    for name, method_id, _, _, text in methods:
        args = arguments(text)
        inner = f"({camel(name)}{lifetime(args)})" if args else ""
        lines += [f"/// {class_name}.{name} ({class_id}, {method_id}).", f"{camel(name)}{inner},"]
    impl = "impl<'a>" if generic else "impl"
    reads = any(arguments(m[4]) for m in methods)
    parameters = ["method: u16"]
    if reads:
        parameters.append("input: &mut Reader<'a>" if generic else "input: &mut Reader<'_>")
    lines += ["}", "", f"{impl} {enum}{generic} {{", "/// Reads what follows the ids.", "#[inline]",
              f"pub(super) fn read({', '.join(parameters)}) -> Result<Self, MethodError> {{", "Ok(match method {"]
    for name, method_id, _, _, text in methods:
        inner = f"({camel(name)}::read(input)?)" if arguments(text) else ""
        lines.append(f"{method_id} => Self::{camel(name)}{inner},")
    lines += [f"_ => return Err(MethodError::Unknown {{ class: {class_id}, method }}),", "})", "}", "",
              "/// Number of the method within its class.", "pub const fn method_id(&self) -> u16 {", "match self {"]
    for name, method_id, _, _, text in methods:
        inner = "(_)" if arguments(text) else ""
        lines.append(f"Self::{camel(name)}{inner} => {method_id},")
    lines += ["}", "}", "}", "", f"impl Encode for {enum}{anonymous} {{", "fn encode(&self, out: &mut Vec<u8>) {",
              "match self {"]
    for name, method_id, _, _, text in methods:
        if arguments(text):
            lines.append(f"Self::{camel(name)}(method) => method.encode(out),")
        else:
            lines.append(f"Self::{camel(name)} => put_id(out, {class_id}, {method_id}),")
    lines += ["}", "}", "}", ""]
    return lines


HEAD = """//! {what}.
//! May import `octets` and `field_table`. Written by generate_method_table.py: change that.

"""


def imports(body):
    text = "\n".join(body)
    octets = [name for name in ("Reader", "WireError", "put_long_bytes", "put_short_str", "put_u16", "put_u32",
                                "put_u64") if name + "(" in text or name + "<" in text or name + ">" in text]
    upper = [name for name in ("Encode", "MethodError", "put_id")
             if f" {name} " in text or f"{name}::" in text or f"{name}(" in text]
    lines = [f"use super::{{{', '.join(upper)}}};"]
    if "TableRef" in text:
        lines.append("use crate::protocol::amqp091::wire::field_table::TableRef;")
    if octets:
        lines.append(f"use crate::protocol::octets::{{{', '.join(octets)}}};")
    return lines


def class_files():
    for class_name, class_id, methods in CLASSES:
        apart, mark = SPLIT.get(class_name, (None, None))
        here = [m for m in methods if not (mark and mark in m[3])]
        there = [m for m in methods if mark and mark in m[3]]
        body = class_enum(class_name, class_id, methods)
        for method in here:
            if arguments(method[4]):
                body += struct(class_name, class_id, method)
        head = HEAD.format(what=f"Methods of class {class_name} ({class_id})")
        extra = []
        if there:
            names = ", ".join(camel(m[0]) for m in there)
            extra = [f"pub use super::{apart}::{{{names}}};"]
        yield f"method/{class_name}.rs", head + "\n".join(imports(body) + extra + [""] + body)
        if there:
            body = [line for method in there for line in struct(class_name, class_id, method)]
            head = HEAD.format(what=f"Methods of class {class_name} ({class_id}) that carry content")
            yield f"method/{apart}.rs", head + "\n".join(imports(body) + [""] + body)


TABLE_HEAD = """//! What every method is called, carries and expects (AMQP 0-9-1 1; P2).
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
"""


def table_file():
    lines = [TABLE_HEAD]
    for class_name, class_id, _ in CLASSES:
        lines += [f"/// Class {class_name}.", f"pub const {class_name.upper()}: u16 = {class_id};"]
    lines += ["", "/// All methods, by class and id.", "pub const METHODS: &[MethodRow] = &["]
    for class_name, _, methods in CLASSES:
        for name, method_id, taker, marks, text in methods:
            args = arguments(text)
            kinds = ", ".join("Kind::" + TYPES[kind][3] for _, kind in args)
            flags = [taker in "sb", taker in "cb", "S" in marks, "C" in marks, ("no_wait", "bit") in args]
            flags = ", ".join("true" if flag else "false" for flag in flags)
            lines.append(f'row({class_name.upper()}, {method_id}, "{class_name}.{name}", [{flags}], &[{kinds}]),')
    lines += ["];", "", "/// The flags in the order of the fields.",
              "const fn row(class: u16, method: u16, name: &'static str, flags: [bool; 5], "
              "arguments: &'static [Kind]) -> MethodRow {",
              "let [to_server, to_client, is_synchronous, has_content, has_no_wait] = flags;",
              "MethodRow { class, method, name, to_server, to_client, is_synchronous, has_content, has_no_wait, "
              "arguments }", "}"]
    return "\n".join(lines)


def rustfmt(text):
    command = ["rustfmt", "--edition", "2024", "--emit", "stdout", "--quiet", "--config-path", str(RUSTFMT_SETTINGS)]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    return result.stdout


def main():
    files = dict(class_files())
    files["method_table.rs"] = table_file()
    differs = False
    for path, text in files.items():
        wanted, file = rustfmt(text), HERE / path
        if sys.argv[1:] == ["--check"]:
            have = file.read_text() if file.exists() else ""
            difference = list(difflib.unified_diff(have.splitlines(), wanted.splitlines(), path, "generated", lineterm=""))
            differs |= bool(difference)
            print("\n".join(difference), end="\n" if difference else "")
        elif sys.argv[1:]:
            sys.exit(__doc__)
        else:
            file.write_text(wanted)
    sys.exit(differs)


if __name__ == "__main__":
    main()
