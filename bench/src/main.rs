#![expect(missing_docs, reason = "binary")]
fn main() {}
