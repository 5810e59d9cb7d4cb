//! What each noun does, over HTTP.

mod access_log;
mod books;
mod factor_resets;
mod notices;
mod reading;
mod sign_in;
mod sign_up;
mod users;
