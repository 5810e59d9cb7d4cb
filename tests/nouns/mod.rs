//! What each noun does, over HTTP.

mod books;
mod notices;
mod reading;
mod users;
