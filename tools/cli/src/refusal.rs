//! Bad input, said in one line.

use std::fmt;
use std::process::ExitCode;

use clap::error::ErrorKind;

/// Why a command did not start: one line on standard error, exit status 2, nothing half done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl Refusal {
    /// A refusal that says `why`; whatever line breaks `why` has become spaces.
    pub(crate) fn new(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        Self(why.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Says the line; the exit status for `main`.
    pub(crate) fn exit(&self) -> ExitCode {
        eprintln!("sistrum: {self}");
        ExitCode::from(2)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<clap::Error> for Refusal {
    /// clap's first paragraph is what is wrong; the usage and the tips after it are left to `--help`.
    fn from(error: clap::Error) -> Self {
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::new(
                "a command is wanted, such as `sistrum demo` or `sistrum feed publish`; `sistrum --help` lists them",
            );
        }
        let text = error.to_string();
        let first = text.split("\n\n").next().unwrap_or_default();
        Self::new(first.trim_start_matches("error: "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line() {
        assert_eq!(Refusal::new("a file\n  of two lines\n").to_string(), "a file of two lines");
    }
}
