//! How the programs take their arguments: what they do not understand has an exit code of its own.

use std::process;

use clap::{CommandFactory, Parser, error::ErrorKind};

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

/// The same, where arguments that are understood one by one may still not fit together.
pub fn arguments_that_fit<P: Parser>(check: impl FnOnce(&P) -> Result<(), String>) -> P {
    let arguments = arguments::<P>();
    if let Err(reason) = check(&arguments) {
        let _ = <P as CommandFactory>::command().error(ErrorKind::ValueValidation, reason).print();
        process::exit(MISUSED.into());
    }
    arguments
}
