//! What the unit tests share.

use daybook_log::SigningKey;

/// A key that everybody knows.
pub fn key() -> SigningKey {
    "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz".parse().expect("a key")
}
