//! What the fuzz targets run on sessions: scripts of what a client, the mail between shards and
//! the clock do, with a broker behind the session and a listener that believes nothing in front of
//! it. May import the session, `broker`, `auth`, `config`.
//!
//! | what | file |
//! |---|---|
//! | the session, its brokers and the connection loop; what must hold of them | `rig` |
//! | what must hold of what the session writes | `listener` |
//! | methods and contents from any octets | `sayings` |
//!
//! The first octet of a script says what the connection is like (`Shape`); a script of odd length
//! ends with a broken connection, one of even length when everybody has come to rest.

mod listener;
mod rig;
mod sayings;

use super::wire::fuzzing::Target;
use rig::Rig;
use sayings::Sayings;

/// All of them.
pub const TARGETS: &[Target] =
    &[("session_octets", session_octets), ("session_methods", session_methods)];

/// What a connection is like, from one octet.
#[derive(Debug, Clone, Copy)]
struct Shape(u8);

impl Shape {
    const fn has(self, bit: u8) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// It begins with channel 1 open.
    const fn is_open(self) -> bool {
        self.has(0)
    }

    /// 1, or 2 with mail between them.
    const fn shards(self) -> u16 {
        if self.has(1) { 2 } else { 1 }
    }

    /// Messages beyond this raise the alarm.
    const fn memory_bytes_max(self) -> u64 {
        if self.has(2) { 20_000 } else { u64::MAX }
    }

    const fn frame_bytes_max(self) -> u32 {
        if self.has(3) { 4096 } else { 131_072 }
    }

    const fn heartbeat_s(self) -> u16 {
        if self.has(4) { 1 } else { 0 }
    }

    /// The client answers when it is told that a channel or the connection is closed.
    const fn is_polite(self) -> bool {
        self.has(5)
    }

    /// The client announces what it understands.
    const fn is_modern(self) -> bool {
        !self.has(6)
    }

    /// Of two shards one has the queues, the other the connections.
    const fn is_apart(self) -> bool {
        self.has(1) && self.has(7)
    }
}

/// What is left of the octets that a script is made of.
#[derive(Debug, Clone, Copy)]
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// The next one; 0 where there is none.
    fn octet(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// So many, or what is left.
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// One of several.
    fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.octet()).checked_rem(all.len())?).copied()
    }

    const fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// A client that sends any octets, cut anywhere. 0 to 199: so many octets, one more than that,
/// from what follows. Others: as `happen`.
pub fn session_octets(input: &[u8]) {
    let mut script = Script(input);
    let mut rig = Rig::new(Shape(script.octet()));
    while !script.is_over() {
        let what = script.octet();
        if what < 200 {
            let octets = script.take(usize::from(what).saturating_add(1));
            rig.say(octets);
            rig.arrive(usize::MAX);
            rig.turn();
        } else {
            happen(what, &mut script, &mut rig);
        }
    }
    rig.end(input.len().is_multiple_of(2));
}

/// A client that sends whole frames: methods of all kinds with arguments that mean something, and
/// contents. 0 to 199: a method, or a publish. Others: as `happen`.
pub fn session_methods(input: &[u8]) {
    let mut script = Script(input);
    let shape = Shape(script.octet());
    let mut rig = Rig::new(shape);
    let mut sayings = Sayings::default();
    if shape.is_open() && script.octet() < 200 {
        rig.say(&sayings::world());
        rig.arrive(usize::MAX);
        rig.come_to_rest();
    }
    while !script.is_over() {
        let what = script.octet();
        if what < 200 {
            (sayings.reply_to, sayings.tag) = rig.heard();
            let octets = sayings.next(what, &mut script);
            rig.say(&octets);
            // Some frames come in pieces, some together with the next.
            match what % 8 {
                0 => rig.arrive(usize::from(script.octet())),
                1 => {}
                _ => rig.arrive(usize::MAX),
            }
            rig.turn();
        } else {
            happen(what, &mut script, &mut rig);
        }
    }
    rig.end(input.len().is_multiple_of(2));
}

/// What is not the client's sending.
fn happen(what: u8, script: &mut Script<'_>, rig: &mut Rig) {
    match what {
        ..=214 => {
            rig.turn();
        }
        215..=224 => rig.come_to_rest(),
        225..=231 => {
            const STEPS_MS: [u64; 8] = [1, 100, 500, 1_000, 3_000, 6_500, 31_000, 61_000];
            rig.advance(script.pick(&STEPS_MS).unwrap_or_default());
        }
        232..=236 => rig.hold_mail(),
        237..=240 => rig.release_mail(),
        241..=243 => rig.stop_reading(),
        244..=247 => rig.go_on_reading(),
        248..=249 => rig.arrive(usize::from(script.octet())),
        250..=251 => rig.be_eager(),
        252 => rig.say(&[8, 0, 0, 0, 0, 0, 0, 0xCE]),
        253 => rig.end_of_the_server(script.octet()),
        254 if script.octet() < 240 => rig.arrive(1),
        254 => rig.say(script.take(7)),
        255 => rig.arrive(usize::MAX),
    }
}
