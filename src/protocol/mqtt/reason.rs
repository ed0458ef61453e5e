//! The broker's refusals in this protocol's words (2.3 of mqtt.md). May import `command`, `wire`.

use crate::command::Refusal;

use super::wire::reason_code::ReasonCode;

/// What a client hears of a refusal. Texts that tell of the broker's inside stay in the log.
pub(super) const fn code_of(refusal: &Refusal) -> ReasonCode {
    match refusal {
        Refusal::AccessRefused { .. }
        | Refusal::KeyRefused { .. }
        | Refusal::VhostRefused(_)
        | Refusal::NotFound(..)
        | Refusal::ReservedName(..)
        | Refusal::DefaultExchange
        | Refusal::Predeclared(_)
        | Refusal::InternalExchange(_)
        | Refusal::NoSuchReplyConsumer => ReasonCode::NotAuthorized,
        Refusal::LimitReached(_) | Refusal::NoSpace => ReasonCode::QuotaExceeded,
        Refusal::Mismatch { .. }
        | Refusal::Locked(_)
        | Refusal::ExclusiveUse(_)
        | Refusal::SingleActiveConsumer(_)
        | Refusal::InUse(..)
        | Refusal::NotEmpty(_)
        | Refusal::InvalidArgument { .. }
        | Refusal::UnknownExchangeType(_)
        // The server does not wish to say why (3.9.3).
        | Refusal::Denied
        | Refusal::Unavailable(_) => ReasonCode::UnspecifiedError,
    }
}

/// The same for a client that is not let in.
pub(super) const fn connect_code_of(refusal: &Refusal) -> ReasonCode {
    let code = code_of(refusal);
    if matches!(code, ReasonCode::UnspecifiedError) { ReasonCode::ServerUnavailable } else { code }
}
