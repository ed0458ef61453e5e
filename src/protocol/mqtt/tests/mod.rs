//! What a session says and does, as its client sees it.
