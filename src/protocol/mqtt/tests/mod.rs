//! What a session says and does, as its client sees it.

mod connecting;
mod fuzz;
mod offers;
mod proving;
mod publishing;
mod random;
mod remembering;
mod rig;
mod several;
mod shards;
mod sources;
mod subscribing;
