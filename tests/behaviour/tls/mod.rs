//! TLS under every protocol, with a client of rustls; other people's clients are in tests/clients.

mod certificates;
mod ground;
mod hostile;
mod https;
mod refusals;
mod reload;
mod serving;
mod tools;
