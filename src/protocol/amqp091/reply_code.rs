//! Reply codes, and the broker's refusals as replies with the texts that clients know
//! (AMQP 0-9-1 1.3; P21 to P43; reply texts begin with the name of the code).
//! May import `command`.

use std::borrow::Cow;

use crate::command::{Entity, Refusal};

/// A code of AMQP 0-9-1; its class says what is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyCode {
    ContentTooLarge,
    NoRoute,
    AccessRefused,
    NotFound,
    ResourceLocked,
    PreconditionFailed,
    ConnectionForced,
    FrameError,
    SyntaxError,
    CommandInvalid,
    ChannelError,
    UnexpectedFrame,
    ResourceError,
    NotAllowed,
    NotImplemented,
    InternalError,
}

impl ReplyCode {
    /// As it goes over the wire.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::ContentTooLarge => 311,
            Self::NoRoute => 312,
            Self::ConnectionForced => 320,
            Self::AccessRefused => 403,
            Self::NotFound => 404,
            Self::ResourceLocked => 405,
            Self::PreconditionFailed => 406,
            Self::FrameError => 501,
            Self::SyntaxError => 502,
            Self::CommandInvalid => 503,
            Self::ChannelError => 504,
            Self::UnexpectedFrame => 505,
            Self::ResourceError => 506,
            Self::NotAllowed => 530,
            Self::NotImplemented => 540,
            Self::InternalError => 541,
        }
    }

    /// How each reply text begins: some clients look at it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// A hard error closes the connection, a soft one only its channel (AMQP 0-9-1 1.3; S62, S63).
    pub(super) const fn is_hard(self) -> bool {
        match self {
            Self::ContentTooLarge
            | Self::NoRoute
            | Self::AccessRefused
            | Self::NotFound
            | Self::ResourceLocked
            | Self::PreconditionFailed => false,
            Self::ConnectionForced
            | Self::FrameError
            | Self::SyntaxError
            | Self::CommandInvalid
            | Self::ChannelError
            | Self::UnexpectedFrame
            | Self::ResourceError
            | Self::NotAllowed
            | Self::NotImplemented
            | Self::InternalError => true,
        }
    }
}

/// Why a channel or a connection is to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The code; its class says whether only the channel goes.
    pub(super) code: ReplyCode,
    /// What the text says behind the code's name.
    pub(super) detail: Cow<'static, str>,
    /// The connection goes although the code is a soft one: the connection's own login failed.
    pub(super) is_hard: bool,
}

impl Fault {
    /// A fault whose class is that of its code.
    pub(super) fn new(code: ReplyCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), is_hard: code.is_hard() }
    }

    /// The same, for the connection in any case.
    pub(super) fn hard(code: ReplyCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), is_hard: true }
    }

    /// The whole reply text.
    pub(super) fn text(&self) -> String {
        let name = self.code.name();
        if self.detail.is_empty() { name.into() } else { format!("{name} - {}", self.detail) }
    }
}

/// What reply texts name besides the thing refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The virtual host of the connection.
    pub(super) vhost: &'a str,
    /// Who logged in.
    pub(super) user: &'a str,
}

const fn kind(entity: Entity) -> &'static str {
    match entity {
        Entity::Exchange => "exchange",
        Entity::Queue => "queue",
        Entity::Vhost => "vhost",
    }
}

const WHY_LOCKED: &str = "It could be originally declared on another connection or the exclusive \
                          property value does not match that of the original declaration.";

fn denied(access: &str, what: &str, user: &str) -> (ReplyCode, String) {
    let detail = format!("{access} access to {what} refused for user '{user}'");
    (ReplyCode::AccessRefused, detail)
}

/// What the broker refused on a channel.
pub(super) fn fault_of(refusal: Refusal, place: Place<'_>) -> Fault {
    use ReplyCode::{AccessRefused, NotAllowed, NotFound, PreconditionFailed, ResourceLocked};
    let Place { vhost, user } = place;
    let the = |entity, name: &str| format!("{} '{name}' in vhost '{vhost}'", kind(entity));
    let the_queue = |name: &str| the(Entity::Queue, name);
    let (code, detail) = match refusal {
        Refusal::NotFound(Entity::Vhost, name) => (NotAllowed, format!("vhost {name} not found")),
        Refusal::NotFound(entity, name) => (NotFound, format!("no {}", the(entity, &name))),
        Refusal::Mismatch { entity, name, argument, received, current } => (
            PreconditionFailed,
            format!(
                "inequivalent arg '{argument}' for {}: received {received} but current is {current}",
                the(entity, &name)
            ),
        ),
        Refusal::Locked(name) => (
            ResourceLocked,
            format!("cannot obtain exclusive access to locked {}. {WHY_LOCKED}", the_queue(&name)),
        ),
        Refusal::ExclusiveUse(name) => {
            (AccessRefused, format!("{} in exclusive use", the_queue(&name)))
        }
        Refusal::SingleActiveConsumer(name) => (
            ResourceLocked,
            format!(
                "cannot obtain access to locked {}. basic.get operations are not supported by \
                 queues with single active consumer",
                the_queue(&name)
            ),
        ),
        Refusal::ReservedName(entity, name) => (
            AccessRefused,
            format!("{} name '{name}' contains reserved prefix 'amq.*'", kind(entity)),
        ),
        Refusal::DefaultExchange => {
            (AccessRefused, "operation not permitted on the default exchange".into())
        }
        Refusal::Predeclared(name) => {
            let what = the(Entity::Exchange, &name);
            (AccessRefused, format!("deletion of system {what} not allowed"))
        }
        Refusal::InUse(entity, name) => {
            (PreconditionFailed, format!("{} in use", the(entity, &name)))
        }
        Refusal::NotEmpty(name) => (PreconditionFailed, format!("{} not empty", the_queue(&name))),
        Refusal::InternalExchange(name) => {
            let what = the(Entity::Exchange, &name);
            (AccessRefused, format!("cannot publish to internal {what}"))
        }
        Refusal::InvalidArgument { entity, name, argument, reason } => {
            // RabbitMQ calls the flags of a declaration properties; they have no `x-` before them.
            let what = if argument.starts_with("x-") { "arg" } else { "property" };
            let thing = the(entity, &name);
            (PreconditionFailed, format!("invalid {what} '{argument}' for {thing}: {reason}"))
        }
        Refusal::UnknownExchangeType(name) => {
            (PreconditionFailed, format!("unknown exchange type '{name}'"))
        }
        Refusal::AccessRefused { access, entity, name } => {
            denied(access, &the(entity, &name), user)
        }
        Refusal::KeyRefused { access, exchange, key } => {
            let what = format!("topic '{key}' in {}", the(Entity::Exchange, &exchange));
            denied(access, &what, user)
        }
        // Only topics of subscribers are denied so.
        Refusal::Denied => (AccessRefused, format!("refused for user '{user}'")),
        Refusal::VhostRefused(name) => {
            (NotAllowed, format!("access to vhost '{name}' refused for user '{user}'"))
        }
        Refusal::LimitReached(what) | Refusal::Unavailable(what) => {
            (PreconditionFailed, what.into())
        }
        Refusal::NoSpace => {
            (PreconditionFailed, "low disk space, publishing is refused until there is more".into())
        }
        Refusal::NoSuchReplyConsumer => {
            (PreconditionFailed, "fast reply consumer does not exist".into())
        }
    };
    Fault::new(code, detail)
}

/// What the broker refused at connection.open: the connection cannot go on without (P17).
pub(super) fn opening_fault(refusal: Refusal, place: Place<'_>) -> Fault {
    let code = match refusal {
        Refusal::Unavailable(_) => ReplyCode::InternalError,
        Refusal::NotFound(..)
        | Refusal::Mismatch { .. }
        | Refusal::Locked(_)
        | Refusal::ExclusiveUse(_)
        | Refusal::SingleActiveConsumer(_)
        | Refusal::ReservedName(..)
        | Refusal::DefaultExchange
        | Refusal::Predeclared(_)
        | Refusal::InUse(..)
        | Refusal::NotEmpty(_)
        | Refusal::InternalExchange(_)
        | Refusal::InvalidArgument { .. }
        | Refusal::UnknownExchangeType(_)
        | Refusal::AccessRefused { .. }
        | Refusal::Denied
        | Refusal::KeyRefused { .. }
        | Refusal::VhostRefused(_)
        | Refusal::LimitReached(_)
        | Refusal::NoSpace
        | Refusal::NoSuchReplyConsumer => ReplyCode::NotAllowed,
    };
    Fault::hard(code, fault_of(refusal, place).detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { vhost: "/", user: "guest" };

    #[test]
    fn reply_texts_begin_with_the_name_and_are_worded_as_clients_know_them() {
        let fault = fault_of(Refusal::NotFound(Entity::Queue, "q".into()), PLACE);
        assert_eq!(fault.code.number(), 404);
        assert_eq!(fault.text(), "NOT_FOUND - no queue 'q' in vhost '/'");
        let fault = fault_of(
            Refusal::Mismatch {
                entity: Entity::Exchange,
                name: "x".into(),
                argument: "durable".into(),
                received: "'false'".into(),
                current: "'true'".into(),
            },
            PLACE,
        );
        assert_eq!(
            fault.text(),
            "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'x' in vhost '/': \
             received 'false' but current is 'true'"
        );
        assert!(!fault.is_hard);
    }

    #[test]
    fn what_is_refused_at_open_closes_the_connection_with_530() {
        let fault = opening_fault(Refusal::NotFound(Entity::Vhost, "x".into()), PLACE);
        assert_eq!((fault.code.number(), fault.is_hard), (530, true));
        assert_eq!(fault.text(), "NOT_ALLOWED - vhost x not found");
        let fault = opening_fault(Refusal::VhostRefused("x".into()), PLACE);
        assert_eq!(fault.text(), "NOT_ALLOWED - access to vhost 'x' refused for user 'guest'");
    }
}
