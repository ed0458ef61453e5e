//! What a session says and does, as its client sees it.

mod connecting;
mod publishing;
mod remembering;
mod rig;
mod subscribing;
