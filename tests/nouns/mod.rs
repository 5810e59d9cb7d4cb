//! What each noun does, over HTTP.

mod books;
mod reading;
mod users;
