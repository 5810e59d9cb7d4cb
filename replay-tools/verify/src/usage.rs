//! How the programs take their arguments: what they do not understand has an exit code of its own.

use std::process;

use clap::Parser;

/// `EX_USAGE` of `sysexits.h`. What clap itself would take is 2, which stands for a verdict here: that something could not
/// be looked at.
pub const MISUSED: u8 = 64;

/// The arguments of this program; with others than it understands, it ends and says why.
pub fn arguments<P: Parser>() -> P {
    P::try_parse().unwrap_or_else(|error| {
        // Nobody may be there to read it; the exit code tells, too.
        let _ = error.print();
        process::exit(if error.use_stderr() { MISUSED.into() } else { 0 })
    })
}
