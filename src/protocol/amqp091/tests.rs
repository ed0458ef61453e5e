//! Sessions fed with octets.
