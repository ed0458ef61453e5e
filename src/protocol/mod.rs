//! Protocols (contract).
