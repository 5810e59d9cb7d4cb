//! What the tools tell on the standard output and the standard error. Whoever reads it may leave at any time, such as
//! `head`: what is told after that is dropped, and the tool goes on and ends as it would have ended.

use std::{
    fmt,
    io::{self, Write},
};

/// Tells a part of a line.
macro_rules! print {
    ($($told:tt)*) => {
        $crate::told::tell(std::io::stdout(), format_args!($($told)*), "")
    };
}

/// Tells a line.
macro_rules! println {
    ($($told:tt)*) => {
        $crate::told::tell(std::io::stdout(), format_args!($($told)*), "\n")
    };
}

/// Tells a line beside the output.
macro_rules! eprintln {
    ($($told:tt)*) => {
        $crate::told::tell(std::io::stderr(), format_args!($($told)*), "\n")
    };
}

/// Anything but a reader that has left is as bad as it is for the macros of the standard library.
pub(crate) fn tell(mut whereto: impl Write, told: fmt::Arguments<'_>, end: &str) {
    match whereto.write_fmt(told).and_then(|()| whereto.write_all(end.as_bytes())) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => panic!("what is told cannot be written: {error}"),
        _ => {}
    }
}

/// Tells why a tool gives up, with all causes; nothing if nobody reads its output any more.
pub fn tell_trouble(error: &crate::ToolError) {
    if is_closed_pipe(error) {
        return;
    }
    eprintln!("daybook: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
}

/// Such an error comes from a tool's own output; one of a connection is inside of another.
fn is_closed_pipe(error: &crate::ToolError) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
