//! Where the rows of a projection lie.

use crate::engine::{Definition, table::Table};

/// A projection, and the build that its rows lie in.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub definition: Definition,
    pub build: i32,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.definition.name, other.build)
    }
}

impl Target {
    pub fn is(&self, name: &str, build: i32) -> bool {
        (self.definition.name, self.build) == (name, build)
    }

    /// Where the rows of a table lie.
    pub fn table(&self, table: &Table) -> String {
        made(table.name(), self.definition.version, self.build)
    }
}

/// The table of a migration that has the shape of a version.
pub(in crate::engine) fn shape_name(name: &str, version: i32) -> String {
    format!("{name}_v{version}")
}

/// The first build of a ledger lies in the tables of the migrations themselves.
pub(in crate::engine) fn made(name: &str, version: i32, build: i32) -> String {
    let shape = shape_name(name, version);
    if build == 1 { shape } else { format!("{shape}_b{build}") }
}
